package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// target is a hearth to talk to.
type target struct {
	Name      string `json:"-" yaml:"-"`
	URL       string `json:"url" yaml:"url"`
	Token     string `json:"token,omitempty" yaml:"token,omitempty"`
	CA        string `json:"ca,omitempty" yaml:"ca,omitempty"`               // PEM
	Namespace string `json:"namespace,omitempty" yaml:"namespace,omitempty"` // empty: default
	// Of the local one only.
	Gateway    string `json:"gateway,omitempty" yaml:"-"`
	Kubeconfig string `json:"kubeconfig,omitempty" yaml:"-"`
	CAFile     string `json:"caFile,omitempty" yaml:"-"` // holds CA
	origin     string // where it was found
}

const (
	localContext = "local"
	stateFolder  = ".hearth"
	contextFile  = "context.json" // in the state folder
)

// contexts is the file of targets, kept with mode 0600.
type contexts struct {
	Current  string            `yaml:"current,omitempty"`
	Previous string            `yaml:"previous,omitempty"`
	Contexts map[string]target `yaml:"contexts,omitempty"`
}

func (a *app) contextsPath() (string, error) {
	if p := a.env.Vars["HEARTH_CONTEXTS"]; p != "" {
		return p, nil
	}
	dir := a.env.Vars["XDG_CONFIG_HOME"]
	if dir == "" {
		home := a.env.Vars["HOME"]
		if home == "" {
			return "", usage("HOME is not set, so there is no place for contexts").WithHint("HEARTH_CONTEXTS names the file")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "hearth", "contexts.yaml"), nil
}

func (a *app) readContexts() (contexts, error) {
	c := contexts{Contexts: map[string]target{}}
	path, err := a.contextsPath()
	if err != nil {
		return c, nil // no home: there are none
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, usage("cannot read the contexts: %v", err)
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return c, usage("cannot read the contexts in %s: %v", path, err).WithHint("correct the file, or remove it")
	}
	if c.Contexts == nil {
		c.Contexts = map[string]target{}
	}
	return c, nil
}

func (a *app) writeContexts(c contexts) error {
	path, err := a.contextsPath()
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return usage("cannot keep the contexts: %v", err)
	}
	return writePrivate(path, data)
}

// writePrivate replaces a file in one step; only its owner may read it.
func writePrivate(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return api.Errorf(api.CodeDisk, "cannot write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what failed is told already
		return api.Errorf(api.CodeDisk, "cannot write %s: %w", path, err)
	}
	return nil
}

// stateDir is the state folder of a command's --state, which is empty where it is
// not given.
func (a *app) stateDir(flag string) string {
	return cmp.Or(flag, a.env.Vars["HEARTH_STATE"], stateFolder)
}

// local finds the hearth of HEARTH_STATE, or that of this folder or one above it.
func (a *app) local() (target, bool, error) {
	if state := a.env.Vars["HEARTH_STATE"]; state != "" {
		return localIn(state)
	}
	dir, err := os.Getwd()
	if err != nil {
		return target{}, false, usage("cannot tell the working folder: %v", err)
	}
	for {
		if t, ok, err := localIn(filepath.Join(dir, stateFolder)); ok || err != nil {
			return t, ok, err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return target{}, false, nil
		}
		dir = up
	}
}

// localIn reads what the hearth of a state folder left there.
func localIn(state string) (target, bool, error) {
	t := target{Name: localContext, origin: filepath.Join(state, contextFile)}
	data, err := os.ReadFile(t.origin)
	if err != nil {
		return target{}, false, nil // none ran there, or it is not ours to see
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, false, usage("cannot read %s: %v", t.origin, err).WithHint("hearth up writes it anew")
	}
	return t, true, nil
}

// target decides which hearth is meant: --context, HEARTH_CONTEXT, HEARTH_URL,
// the current context, local.
func (a *app) target() (target, error) {
	name := a.context
	if name == "" {
		name = a.env.Vars["HEARTH_CONTEXT"]
	}
	if url := a.env.Vars["HEARTH_URL"]; name == "" && url != "" {
		t := target{Name: "environment", URL: url, Token: a.env.Vars["HEARTH_TOKEN"], CA: a.env.Vars["HEARTH_CA"], origin: "HEARTH_URL"}
		return t, t.readCA()
	}
	cs, err := a.readContexts()
	if err != nil {
		return target{}, err
	}
	switch name {
	case "":
		name = cs.Current
	case "-":
		name = cs.Previous
	}
	if name == "" || name == localContext {
		t, ok, err := a.local()
		if err != nil {
			return t, err
		}
		if state := a.env.Vars["HEARTH_STATE"]; !ok && state != "" {
			return t, api.Errorf(api.CodeUnreachable, "no hearth runs in %s, which HEARTH_STATE names", state).WithHint("hearth up --state %s starts one", state)
		}
		if !ok {
			return t, api.Errorf(api.CodeUnreachable, "no hearth runs in this folder").
				WithHint("hearth up starts one; hearth context ls shows others; HEARTH_STATE names the folder of one with --state")
		}
		return t, nil
	}
	t, ok := cs.Contexts[name]
	if !ok {
		return t, noContext(cs, name)
	}
	path, _ := a.contextsPath() // it was read before
	t.Name, t.origin = name, path
	return t, nil
}

// readCA replaces a file name by what the file holds: HEARTH_CA may be either.
func (t *target) readCA() error {
	if t.CA == "" || t.CA[0] == '-' {
		return nil
	}
	data, err := os.ReadFile(t.CA)
	if err != nil {
		return usage("cannot read the certificate to trust: %v", err).WithHint("HEARTH_CA is a PEM file, or its text")
	}
	t.CA = string(data)
	return nil
}

// connect returns a client of the hearth that is meant.
func (a *app) connect() (*client.Client, target, error) {
	t, err := a.target()
	if err != nil {
		return nil, t, err
	}
	ns := a.namespace
	for _, other := range []string{a.env.Vars["HEARTH_NAMESPACE"], t.Namespace} {
		if ns == "" {
			ns = other
		}
	}
	if ns != "" {
		if why := api.CheckName(ns); why != "" {
			return nil, t, usage("--namespace: %s", why).WithHint("hearth get namespaces lists them")
		}
	}
	c, err := client.New(client.Config{URL: t.URL, CA: []byte(t.CA), Token: t.Token, Namespace: ns})
	return c, t, err
}

// where names the target in messages, unless it is the one here.
func (t target) where() string {
	if t.Name == localContext || t.Name == "" || t.Name == "environment" {
		return ""
	}
	return " (context " + t.Name + ")"
}
