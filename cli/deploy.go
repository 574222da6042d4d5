package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/runtime"
)

// readyWithin is how long a deployment is waited for: longer than an image may
// take to get ready, so that what is shown is the verdict.
const readyWithin = 11 * time.Minute

// maxInline bounds code that travels inside the manifest, in bytes; more is
// uploaded as an archive.
const maxInline = 200 << 10

type deployFlags struct {
	name, runtime, handler string
	env, secrets, config   []string
	memory, cpu            string
	timeout                time.Duration
	concurrency            int
	min, max               int
	command                []string
	port                   string
	pullSecrets            []string
	write, noWait, invoke  bool
	waitTimeout            time.Duration
	changed                func(flag string) bool
}

func (a *app) deployCommand() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy FILE|FOLDER|IMAGE…",
		Short: "Make a function of a file, a folder or an image",
		Long: `Make a function of a file, a folder or a container image: the language is found from the files, the code is built and started, and the address that answers is
printed. A folder with a Procfile, a start script in package.json, a config.ru or an index.html is a program or site that serves by itself, as an image is.
Deploying again changes the code and what flags say; everything else stays. .hearthignore names what of a folder is not code.`,
		Example: `  hearth deploy hello.js
  hearth deploy shop/ --env CURRENCY=EUR --memory 128Mi
  hearth deploy app.py --name api --handler app:app --concurrency 8
  hearth deploy ghcr.io/team/shop:1.2 --port 9000
  hearth deploy hello.js --write      also keep the manifest as hello.yaml`,
		Args: args(1, -1, "a file, a folder or an image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = cmd.Flags().Changed
			if len(args) > 1 && f.name != "" {
				return usage("--name is for one function; there are %d", len(args)).WithHint("deploy them one by one")
			}
			for _, path := range args {
				if err := a.runDeploy(cmd.Context(), path, f); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "name of the function; the file's or folder's when empty")
	fl.StringVar(&f.runtime, "runtime", "", "runtime: node, python, go, command, static, or a Runtime's `name`")
	fl.StringVar(&f.handler, "handler", "", "what to call: file.export, module.name or module:app")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "environment variable `NAME=VALUE`; NAME= removes it; may be repeated")
	fl.StringSliceVar(&f.secrets, "secret", nil, "`name` of a Secret shown as files; may be repeated")
	fl.StringSliceVar(&f.config, "config", nil, "`name` of a ConfigMap shown as files; may be repeated")
	fl.StringVar(&f.memory, "memory", "", "memory of an instance, such as 128Mi")
	fl.StringVar(&f.cpu, "cpu", "", "processors of an instance, such as 500m")
	fl.DurationVar(&f.timeout, "timeout", 0, "longest time for one call, such as 30s")
	fl.IntVar(&f.concurrency, "concurrency", 0, "calls an instance answers at a time")
	fl.IntVar(&f.min, "min", 0, "instances kept running")
	fl.IntVar(&f.max, "max", 0, "most instances")
	fl.StringSliceVar(&f.command, "command", nil, "program and arguments, for the command runtime and images")
	fl.StringVar(&f.port, "port", "", "where a program serves, as `[h2c:]PORT`; it finds the number in $PORT")
	fl.StringSliceVar(&f.pullSecrets, "pull-secret", nil, "`name` of a Secret with which a private image is pulled; may be repeated")
	fl.BoolVar(&f.write, "write", false, "also save the manifest as NAME.yaml")
	fl.BoolVar(&f.noWait, "no-wait", false, "do not wait until it is ready")
	fl.BoolVar(&f.invoke, "invoke", false, "call it once it is ready")
	fl.DurationVar(&f.waitTimeout, "wait-timeout", readyWithin, "longest time to wait")
	_ = cmd.RegisterFlagCompletionFunc("runtime", cobra.FixedCompletions([]string{"node", "python", "go", "command", "static"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runDeploy(ctx context.Context, path string, f deployFlags) error {
	s, err := readSource(path, f)
	if err != nil {
		return err
	}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("deploying " + s.name)
	defer p.done()
	o, err := a.deploy(ctx, c, s, f, p)
	if err != nil {
		return err
	}
	p.done()
	if f.write {
		if err := a.writeManifest(s, o); err != nil {
			return err
		}
	}
	if a.machine() || a.output == "name" {
		err = a.showObjects([]client.Object{o}, true)
	} else {
		a.say("%s", a.deployed(o, f.noWait, t))
		if note := partial(o); note != "" && !f.noWait {
			a.say("  %s", note)
		}
	}
	if err == nil && f.invoke {
		return a.runInvoke(ctx, s.name, invokeFlags{path: "/"})
	}
	return err
}

// deployed is the line about a deployed function.
func (a *app) deployed(o client.Object, noWait bool, t target) string {
	var fn api.Function
	if o.Into(&fn) != nil || noWait {
		return fmt.Sprintf("%s %s applied; hearth describe %s says when it is ready%s", a.paint.good("✓"), ref(o), ref(o), t.where())
	}
	words := []string{a.paint.good("✓") + " " + ref(o)}
	if fn.Status.URL != "" {
		words = append(words, fn.Status.URL)
	}
	made := revisionText(fn.Status.LatestReadyRevision)
	switch {
	case fn.Spec.Source.Image != "":
		image, _, _ := strings.Cut(fn.Spec.Source.Image, "@")
		made += ", " + image
	case fn.Spec.Runtime != "":
		made += ", " + fn.Spec.Runtime + " runtime"
	}
	if b := fn.Status.Build; b != nil && b.Duration != nil && fn.Spec.Source.Image == "" {
		made += ", built in " + short(b.Duration.Duration)
	}
	return strings.Join(append(words, strings.TrimPrefix(made, ", ")), "   ") + t.where()
}

// source is code on this machine.
type source struct {
	path    string
	name    string // of the function
	folder  bool
	image   string // instead of code
	runtime string
	handler string
	inline  map[string]string // small text; nil: upload
}

// readSource looks at path and finds what language it is.
func readSource(path string, f deployFlags) (source, error) {
	s := source{path: path, name: f.name, runtime: f.runtime, handler: f.handler}
	info, err := os.Stat(path)
	if err != nil && isImage(path) {
		return imageSource(path, f)
	}
	if err != nil && imageName.MatchString(path) {
		return s, api.Errorf(api.CodeNotFound, "cannot deploy %s: there is no such file or folder", path).
			WithHint("hearth deploy %s:latest deploys an image; hearth new NAME writes a function to start from", strings.TrimSuffix(path, "/"))
	}
	if err != nil {
		return s, api.Errorf(api.CodeNotFound, "cannot deploy %s: there is no such file or folder", path).WithHint("hearth new NAME writes a function to start from")
	}
	s.folder = info.IsDir()
	if s.name == "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return s, usage("cannot tell where %s is: %v", path, err)
		}
		base := filepath.Base(full)
		if !s.folder {
			base = strings.TrimSuffix(base, filepath.Ext(base))
		}
		s.name = toName(base)
	}
	if why := api.CheckName(s.name); why != "" {
		return s, usage("cannot name the function after %s: %s", path, why).WithHint("--name says it")
	}
	files := os.DirFS(path)
	if !s.folder {
		data, err := os.ReadFile(path)
		if err != nil {
			return s, api.Errorf(api.CodeInvalid, "cannot deploy %s: %v", path, err)
		}
		if len(data) == 0 {
			return s, api.Errorf(api.CodeInvalid, "cannot deploy %s: it is empty", path).WithHint("hearth new NAME writes a function to start from")
		}
		files = oneFile{name: filepath.Base(path), data: data, mode: info.Mode()}
		if len(data) <= maxInline && utf8.Valid(data) && !strings.ContainsRune(string(data), 0) {
			s.inline = map[string]string{filepath.Base(path): string(data)}
		}
	}
	if s.runtime != "" {
		return s, nil
	}
	if s.runtime, s.handler, err = runtime.Detect(files); err != nil {
		e := *asError(context.Background(), err)
		e.Message = "cannot deploy " + path + ": " + e.Message
		return s, &e
	}
	if f.handler != "" {
		s.handler = f.handler
	}
	if f.command != nil {
		s.runtime, s.handler = api.RuntimeCommand, ""
	}
	return s, nil
}

// toName makes a DNS label of a file's name.
func toName(base string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}

// deploy sends s and, unless told otherwise, waits for its verdict. A change in
// between by someone else is taken in and repeated.
func (a *app) deploy(ctx context.Context, c *client.Client, s source, f deployFlags, p *progress) (client.Object, error) {
	from := map[string]any{"files": s.inline}
	if s.image != "" {
		from = map[string]any{"image": a.pinned(ctx, s.image)}
	} else if s.inline == nil {
		p.now("uploading " + s.path)
		digest, err := a.uploadSource(ctx, c, s)
		if err != nil {
			return client.Object{}, err
		}
		from = map[string]any{"archive": map[string]any{"blob": digest}}
	}
	k := mustKind("function")
	for attempt := 0; ; attempt++ {
		p.now("applying function/" + s.name)
		body, err := a.desired(ctx, c, s, from, f)
		if err != nil {
			return client.Object{}, err
		}
		o, err := c.Apply(ctx, k, s.name, body, client.WriteOptions{Force: true})
		if api.IsCode(err, api.CodeConflict) && attempt < 5 {
			continue
		}
		if err != nil || f.noWait {
			return o, err
		}
		p.now("building " + s.name)
		limit := f.waitTimeout
		if limit <= 0 {
			limit = 10 * time.Minute
		}
		return a.waitReady(ctx, c, o, p, limit)
	}
}

// desired is the manifest to apply: what is there already, with the new source
// and what the flags say.
func (a *app) desired(ctx context.Context, c *client.Client, s source, from map[string]any, f deployFlags) ([]byte, error) {
	meta := map[string]any{"name": s.name}
	spec := map[string]any{}
	o, err := c.Get(ctx, mustKind("function"), s.name)
	switch {
	case err == nil:
		var m struct {
			Metadata struct {
				Labels      map[string]any `json:"labels"`
				Annotations map[string]any `json:"annotations"`
			} `json:"metadata"`
			Spec map[string]any `json:"spec"`
		}
		if err := json.Unmarshal(o.JSON, &m); err != nil {
			return nil, err
		}
		spec = m.Spec
		meta["resourceVersion"] = o.Meta.ResourceVersion
		if m.Metadata.Labels != nil {
			meta["labels"] = m.Metadata.Labels
		}
		if m.Metadata.Annotations != nil {
			meta["annotations"] = m.Metadata.Annotations
		}
	case !api.IsCode(err, api.CodeNotFound):
		return nil, err
	}
	spec["source"] = from
	if s.image != "" {
		// What the tag means may have changed: the same image makes no new revision.
		within(meta, "annotations")[api.AnnotationRebuild] = time.Now().UTC().Format(time.RFC3339Nano)
	}
	if err := s.settings(spec, f); err != nil {
		return nil, err
	}
	body, err := marshal(map[string]any{"apiVersion": api.GroupVersion, "kind": "Function", "metadata": meta, "spec": spec})
	if err != nil {
		return nil, err
	}
	if errs := api.CheckFields(mustKind("function"), body); len(errs) > 0 {
		e := api.Errorf(api.CodeInvalid, "cannot deploy %s: %s: %s", s.path, errs[0].Path, errs[0].Message).WithHint("hearth deploy --help shows the flags")
		if errs[0].Hint != "" {
			e.Hint = errs[0].Hint
		}
		return nil, e
	}
	return body, nil
}

// settings puts what was found and what flags say into spec.
func (s source) settings(spec map[string]any, f deployFlags) error {
	changed := f.changed
	if changed == nil {
		changed = func(string) bool { return false }
	}
	command, isCommand := spec["command"], false
	if spec["runtime"] != s.runtime || changed("handler") || spec["handler"] == nil {
		delete(spec, "handler")
		delete(spec, "command")
		spec["runtime"] = s.runtime
		if s.handler != "" && s.runtime == api.RuntimeCommand {
			command, isCommand = []any{"sh", "-c", s.handler}, true
			if !strings.ContainsAny(s.handler, "$|&;<>()`\"'*?[]#~=%\\") {
				command = anys(strings.Fields(s.handler))
			}
		} else if s.handler != "" {
			spec["handler"] = s.handler
		}
	}
	if f.command != nil {
		command, isCommand = anys(f.command), true
	}
	if changed("port") {
		port, err := servePort(f.port)
		if err != nil {
			return err
		}
		spec["port"] = port
	}
	if changed("pull-secret") {
		var refs []any
		for _, name := range f.pullSecrets {
			refs = append(refs, map[string]any{"name": name})
		}
		spec["pullSecrets"] = refs
	}
	if (s.runtime == api.RuntimeCommand || s.image != "") && (isCommand || command != nil) {
		spec["command"] = command
	}
	if changed("memory") || changed("cpu") {
		limits := within(spec, "limits")
		for k, v := range map[string]string{"memory": f.memory, "cpu": f.cpu} {
			if changed(k) {
				limits[k] = v
			}
		}
	}
	if changed("timeout") {
		spec["timeout"] = f.timeout.String()
	}
	if changed("concurrency") {
		spec["concurrency"] = f.concurrency
	}
	for k, v := range map[string]int{"min": f.min, "max": f.max} {
		if changed(k) {
			within(spec, "scale")[k] = v
		}
	}
	if changed("secret") {
		spec["secrets"] = f.secrets
	}
	if changed("config") {
		spec["config"] = f.config
	}
	return setEnv(spec, f.env)
}

func within(m map[string]any, key string) map[string]any {
	if inner, ok := m[key].(map[string]any); ok {
		return inner
	}
	inner := map[string]any{}
	m[key] = inner
	return inner
}

func anys(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// setEnv changes the variables named, keeps the others, and removes those set to
// nothing.
func setEnv(spec map[string]any, env []string) error {
	list, _ := spec["env"].([]any)
	for _, kv := range env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return usage("--env: %q is not NAME=VALUE", kv).WithHint("such as --env CURRENCY=EUR")
		}
		at := -1
		for i, item := range list {
			if m, ok := item.(map[string]any); ok && m["name"] == name {
				at = i
			}
		}
		v := map[string]any{"name": name, "value": value}
		switch {
		case value == "" && at >= 0:
			list = append(list[:at:at], list[at+1:]...)
		case value == "":
		case at >= 0:
			list[at] = v
		default:
			list = append(list, v)
		}
	}
	if len(list) > 0 {
		spec["env"] = list
	} else {
		delete(spec, "env")
	}
	return nil
}

func (a *app) uploadSource(ctx context.Context, c *client.Client, s source) (string, error) {
	if s.folder {
		return a.upload(ctx, c, s.path)
	}
	dir, err := os.MkdirTemp("", "hearth-source-")
	if err != nil {
		return "", api.Errorf(api.CodeDisk, "cannot pack %s: %w", s.path, err)
	}
	defer os.RemoveAll(dir)
	data, err := os.ReadFile(s.path)
	if err != nil {
		return "", api.Errorf(api.CodeInvalid, "cannot read %s: %w", s.path, err)
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(s.path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.path)), data, mode); err != nil {
		return "", api.Errorf(api.CodeDisk, "cannot pack %s: %w", s.path, err)
	}
	return a.upload(ctx, c, dir)
}

// writeManifest saves what was deployed; an existing file is not overwritten
// unless --yes says so.
func (a *app) writeManifest(s source, o client.Object) error {
	var m struct {
		Metadata struct {
			Labels map[string]any `json:"labels"`
		} `json:"metadata"`
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(o.JSON, &m); err != nil {
		return err
	}
	meta := map[string]any{"name": s.name}
	if len(m.Metadata.Labels) > 0 {
		meta["labels"] = m.Metadata.Labels
	}
	file := s.name + ".yaml"
	if s.inline == nil {
		folder := "./" + filepath.ToSlash(filepath.Clean(s.path))
		if !s.folder || filepath.IsAbs(s.path) {
			return usage("--write works with text files and folders below this one").WithHint("hearth get function/%s -o yaml prints the manifest", s.name)
		}
		m.Spec["source"] = map[string]any{"folder": folder}
	}
	y, err := yaml.Marshal(map[string]any{"apiVersion": api.GroupVersion, "kind": "Function", "metadata": meta, "spec": m.Spec})
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(file); err == nil && string(old) != string(y) && !a.yes {
		return api.Errorf(api.CodeExists, "%s is deployed, but %s exists already and differs", s.name, file).WithHint("--yes overwrites it")
	}
	if err := os.WriteFile(file, y, 0o644); err != nil {
		return api.Errorf(api.CodeDisk, "cannot write %s: %w", file, err)
	}
	a.say("wrote %s; hearth apply -f %s deploys it again", file, file)
	return nil
}
