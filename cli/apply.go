package cli

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/manifest"
	"github.com/hearth-run/hearth/node"
)

// labelSet marks what one hearth apply --prune made, so that the next one knows
// what to remove.
const labelSet = "hearth.run/set"

type applyFlags struct {
	files       []string
	prune       bool
	set         string
	wait        bool
	waitSet     bool
	waitTimeout time.Duration
	ifRevision  string
	dry         bool
	force       bool
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE|FOLDER|-",
		Short: "Make objects be what manifests say",
		Long: `Make objects be what manifests say: they are created or changed, and with --prune removed when they are no longer there.
A function whose spec.source.folder is a relative path has that folder, beside its manifest, uploaded.`,
		Example: `  hearth apply -f shop/
  hearth apply -f shop/ --prune --wait
  kustomize build | hearth apply -f -`,
		Args: args(0, 0, "its manifests with -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.waitSet = cmd.Flags().Changed("wait")
			return a.runApply(cmd.Context(), f)
		},
	}
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "manifests: a `file`, a folder, or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until everything is ready; on a terminal the default")
	cmd.Flags().DurationVar(&f.waitTimeout, "wait-timeout", 5*time.Minute, "longest time to wait")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "delete what an earlier apply --prune of the same set made and the manifests no longer have")
	cmd.Flags().StringVar(&f.set, "set", "", "name of the set for --prune; the first path's name when empty")
	cmd.Flags().StringVar(&f.ifRevision, "if-revision", "", "only if this still is the object's `version` (metadata.resourceVersion)")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "let the server check everything, and change nothing")
	cmd.Flags().BoolVar(&f.force, "force", false, "take over fields that another manager, such as kubectl, owns")
	return cmd
}

// applied is what became of one document.
type applied struct {
	object client.Object
	what   string // created, changed, unchanged
}

func (a *app) runApply(ctx context.Context, f applyFlags) error {
	if len(f.files) == 0 {
		return usage("hearth apply needs manifests").WithHint("hearth apply -f FILE, a folder, or - for standard input")
	}
	if !f.waitSet {
		f.wait = a.ErrTerminal
	}
	docs, err := a.load(f.files)
	if err != nil {
		return err
	}
	if f.ifRevision != "" && len(docs) != 1 {
		return usage("--if-revision is for one object; there are %d", len(docs)).WithHint("apply that object alone")
	}
	if f.prune {
		if f.set, err = setName(f); err != nil {
			return err
		}
	}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("applying to " + t.URL)
	defer p.done()
	var done []applied
	for _, d := range docs {
		p.now("applying " + d.String())
		r, err := a.applyOne(ctx, in(c, d), d, f)
		if err != nil {
			p.done()
			a.reportApplied(done, f, t)
			return located(d, err)
		}
		done = append(done, r)
	}
	var gone []client.Object
	if f.prune {
		p.now("looking for what is no longer in the manifests")
		if gone, err = a.prune(ctx, c, docs, f); err != nil {
			return err
		}
	}
	var failed error
	if f.wait && !f.dry {
		for i, r := range done {
			if !r.object.Kind.Status || r.object.Kind.Kind == "Namespace" {
				continue
			}
			o, err := a.waitReady(ctx, in(c, docs[i]), r.object, p, f.waitTimeout)
			if err != nil && failed == nil {
				failed = err
			}
			done[i].object = o
		}
	}
	p.done()
	a.reportApplied(done, f, t)
	for _, o := range gone {
		verb := "deleted, no longer in the manifests"
		if f.dry {
			verb = "would be deleted"
		}
		a.say("%s %s %s%s", a.paint.good("✓"), ref(o), verb, t.where())
	}
	if failed == nil && (a.machine() || a.output == "name") {
		var objs []client.Object
		for _, r := range done {
			objs = append(objs, r.object)
		}
		return a.showObjects(objs, len(objs) == 1)
	}
	return failed
}

// load reads manifests and puts them in the order they depend on each other.
func (a *app) load(files []string) ([]manifest.Document, error) {
	docs, err := manifest.Set(node.Kinds()).Load(files, a.In)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, usage("there is nothing in %s", strings.Join(files, ", ")).WithHint("hearth help manifests shows how one is written")
	}
	order := []string{"Namespace", "Secret", "ConfigMap", "Runtime", "Function", "Service"}
	rank := func(d manifest.Document) int {
		if i := slices.Index(order, d.Kind.Kind); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(docs, func(x, y manifest.Document) int { return rank(x) - rank(y) })
	return docs, nil
}

// in is the client for a document's tenant.
func in(c *client.Client, d manifest.Document) *client.Client {
	if d.Namespace != "" {
		return c.In(d.Namespace)
	}
	return c
}

func (a *app) applyOne(ctx context.Context, c *client.Client, d manifest.Document, f applyFlags) (applied, error) {
	before, err := c.Get(ctx, d.Kind, d.Name)
	if err != nil && !api.IsCode(err, api.CodeNotFound) {
		return applied{}, err
	}
	body, err := a.body(ctx, c, d, before, f)
	if err != nil {
		return applied{}, err
	}
	after, err := c.Apply(ctx, d.Kind, d.Name, body, client.WriteOptions{DryRun: f.dry, Force: f.force})
	if api.IsCode(err, api.CodeConflict) {
		e := api.AsError(err)
		if f.ifRevision != "" {
			return applied{}, e.WithHint("it is now at %s; hearth diff shows what your manifest would change", before.Meta.ResourceVersion)
		}
		return applied{}, e.WithHint("hearth apply --force takes those fields over")
	}
	if err != nil {
		return applied{}, err
	}
	r := applied{object: after, what: "changed"}
	switch {
	case before.Meta.Name == "":
		r.what = "created"
	case sameObject(before.JSON, after.JSON): // its version may move with its status
		r.what = "unchanged"
	}
	return r, nil
}

// body is what is sent for a document: what the server owns is left out, and a
// relative source folder is uploaded.
func (a *app) body(ctx context.Context, c *client.Client, d manifest.Document, before client.Object, f applyFlags) ([]byte, error) {
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(string(d.JSON)))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	delete(m, "status")
	meta, _ := m["metadata"].(map[string]any) // manifest has checked it
	for _, k := range []string{"managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"} {
		delete(meta, k)
	}
	if f.ifRevision != "" {
		meta["resourceVersion"] = f.ifRevision
	}
	set := before.Meta.Labels[labelSet] // stays without --prune, too
	if f.prune {
		set = f.set
	}
	if set != "" {
		labels, ok := meta["labels"].(map[string]any)
		if !ok {
			labels = map[string]any{}
			meta["labels"] = labels
		}
		labels[labelSet] = set
	}
	if spec, ok := m["spec"].(map[string]any); ok && d.Kind.Kind == "Function" {
		source, _ := spec["source"].(map[string]any)
		folder, _ := source["folder"].(string)
		if folder != "" && !filepath.IsAbs(folder) {
			if d.File == "stdin" {
				return nil, usage("%s: spec.source.folder %q is relative, and standard input is in no folder", d, folder).WithHint("hearth apply -f FILE")
			}
			digest, err := a.upload(ctx, c, filepath.Join(filepath.Dir(d.File), folder))
			if err != nil {
				return nil, err
			}
			spec["source"] = map[string]any{"archive": map[string]any{"blob": digest}}
		}
	}
	return marshal(m)
}

// located gives the errors of fields the lines of the manifest.
func located(d manifest.Document, err error) error {
	e := asError(context.Background(), err)
	if e.Code != api.CodeInvalid || len(e.Fields) == 0 {
		return err
	}
	var problems []manifest.Problem
	for _, f := range e.Fields {
		p := d.Position(f.Path)
		problems = append(problems, manifest.Problem{File: d.File, Line: p.Line, Column: p.Column, Object: d.String(), Path: f.Path, Message: f.Message, Hint: f.Hint})
	}
	return manifest.Fail(problems)
}

func (a *app) reportApplied(done []applied, f applyFlags, t target) {
	for _, r := range done {
		what := r.what
		if f.dry {
			what = map[string]string{"created": "would be created", "changed": "would be changed"}[what]
			if what == "" {
				what = r.what
			}
		}
		mark := a.paint.good("✓")
		var s common
		if r.object.Into(&s) == nil && f.wait && !f.dry && r.object.Kind.Status && r.object.Kind.Kind != "Namespace" {
			if s.Status.Conditions.Ready() {
				what += ", ready"
				if s.Status.URL != "" {
					what += "   " + s.Status.URL
				}
			} else {
				mark = a.paint.bad("✗")
				what += ", not ready"
			}
		}
		a.say("%s %s %s%s", mark, ref(r.object), what, t.where())
	}
}

var notLabel = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// setName is the name of the set that --prune works on.
func setName(f applyFlags) (string, error) {
	name := f.set
	if name == "" {
		if f.files[0] == "-" {
			return "", usage("--prune from standard input needs --set").WithHint("such as --set shop")
		}
		full, err := filepath.Abs(f.files[0])
		if err != nil {
			return "", usage("cannot tell where %s is: %v", f.files[0], err)
		}
		base := filepath.Base(full)
		name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	name = strings.Trim(notLabel.ReplaceAllString(name, "-"), "-_.")
	if name == "" || len(name) > 63 {
		return "", usage("%q is no name for a set", f.set).WithHint("letters, digits, '-', '_' and '.', at most 63")
	}
	return name, nil
}

// prune deletes what carries the set's label and is not in docs.
func (a *app) prune(ctx context.Context, c *client.Client, docs []manifest.Document, f applyFlags) (gone []client.Object, err error) {
	type id struct{ resource, namespace, name string }
	keep := map[id]bool{}
	spaces := []string{c.Namespace()}
	for _, d := range docs {
		ns := in(c, d).Namespace()
		keep[id{d.Kind.Resource(), ns, d.Name}] = true
		spaces = append(spaces, ns)
	}
	slices.Sort(spaces)
	for _, ns := range slices.Compact(spaces) {
		for _, k := range node.Kinds() {
			if !k.Namespaced || k.Kind == "Event" || k.Kind == "Revision" || k.Kind == "Configuration" {
				continue
			}
			l, err := c.In(ns).List(ctx, k, client.ListOptions{Labels: labelSet + "=" + f.set})
			if err != nil {
				return gone, err
			}
			for _, o := range l.Items {
				if len(o.Meta.OwnerReferences) > 0 || keep[id{k.Resource(), ns, o.Meta.Name}] {
					continue
				}
				err := c.In(ns).Delete(ctx, k, o.Meta.Name, client.WriteOptions{DryRun: f.dry})
				if err != nil && !api.IsCode(err, api.CodeNotFound) {
					return gone, err
				}
				gone = append(gone, o)
			}
		}
	}
	return gone, nil
}
