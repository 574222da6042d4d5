package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/manifest"
)

// couldNot wraps an error of diff, whose exit code 1 means "differs".
type couldNot struct{ error }

func (e couldNot) Unwrap() error { return e.error }

func (a *app) diffCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "diff -f FILE|FOLDER|-",
		Short: "Show what apply would change",
		Long:  "Show what apply would change: the server is asked, and changes nothing. The exit code is 0 when nothing differs, 1 when something does, and 2 or more when that could not be found out.",
		Example: `  hearth diff -f shop/
  hearth diff -f shop/ && echo the same`,
		Args: args(0, 0, "its manifests with -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.runDiff(cmd.Context(), f)
			var code exit
			if err == nil || errors.As(err, &code) {
				return err
			}
			return couldNot{err}
		},
	}
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "manifests: a `file`, a folder, or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "also show what apply --prune would delete")
	cmd.Flags().StringVar(&f.set, "set", "", "name of the set for --prune; the first path's name when empty")
	return cmd
}

// difference is what would become of one object.
type difference struct {
	Object string   `json:"object"`
	Action string   `json:"action"` // create, update, delete
	Fields []change `json:"fields,omitempty"`
	about  string
}

// change is one field before and after; null is absent.
type change struct {
	Path string `json:"path"`
	Old  any    `json:"old"`
	New  any    `json:"new"`
}

func (a *app) runDiff(ctx context.Context, f applyFlags) error {
	if len(f.files) == 0 {
		return usage("hearth diff needs manifests").WithHint("hearth diff -f FILE, a folder, or - for standard input")
	}
	f.dry, f.force = true, true
	docs, err := a.load(f.files)
	if err != nil {
		return err
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
	p := a.progress("comparing with " + t.URL)
	defer p.done()
	diffs := []difference{}
	for _, d := range docs {
		p.now("comparing " + d.String())
		one, differs, err := a.diffOne(ctx, in(c, d), d, f)
		if err != nil {
			return located(d, err)
		}
		if differs {
			diffs = append(diffs, one)
		}
	}
	if f.prune {
		gone, err := a.prune(ctx, c, docs, f)
		if err != nil {
			return err
		}
		for _, o := range gone {
			diffs = append(diffs, difference{Object: ref(o), Action: "delete"})
		}
	}
	p.done()
	if a.machine() {
		err = a.showValue(diffs)
	} else {
		err = a.data(a.renderDiff(diffs))
	}
	if err == nil && len(diffs) > 0 {
		return exit(1)
	}
	return err
}

func (a *app) diffOne(ctx context.Context, c *client.Client, d manifest.Document, f applyFlags) (difference, bool, error) {
	out := difference{Object: d.String(), Action: "update"}
	before, err := c.Get(ctx, d.Kind, d.Name)
	missing := api.IsCode(err, api.CodeNotFound)
	if err != nil && !missing {
		return out, false, err
	}
	body, err := a.body(ctx, c, d, before, f)
	if err != nil {
		return out, false, err
	}
	after, err := c.Apply(ctx, d.Kind, d.Name, body, client.WriteOptions{DryRun: true, Force: true})
	if err != nil {
		return out, false, err
	}
	if missing {
		out.Action, out.about = "create", about(after)
		return out, true, nil
	}
	out.Fields = changes(before.JSON, after.JSON)
	if d.Kind.Kind == "Secret" {
		for i := range out.Fields {
			hide(&out.Fields[i])
		}
	}
	return out, len(out.Fields) > 0, nil
}

// hide keeps a secret's values from being shown.
func hide(c *change) {
	if c.Old != nil {
		c.Old = "(hidden)"
	}
	if c.New != nil {
		c.New = "(hidden, different)"
	}
}

// about is a few words on a new object.
func about(o client.Object) string {
	var m struct {
		Spec map[string]any `json:"spec"`
	}
	if o.Into(&m) != nil {
		return ""
	}
	var words []string
	for _, k := range []string{"runtime", "host", "path", "prefix"} {
		if s, ok := m.Spec[k].(string); ok && s != "" {
			words = append(words, s)
		}
	}
	var sinks []string
	targets, _ := m.Spec["targets"].([]any)
	for _, t := range targets {
		if tm, ok := t.(map[string]any); ok {
			for _, k := range []string{"function", "revision"} {
				if s, ok := tm[k].(string); ok {
					to := k + "/" + s
					if w, ok := tm["weight"]; ok {
						to += fmt.Sprintf(" (%v)", w)
					}
					sinks = append(sinks, to)
				}
			}
		}
	}
	if len(sinks) > 0 {
		words = append(words, "→ "+strings.Join(sinks, ", "))
	}
	return strings.Join(words, " ")
}

func (a *app) renderDiff(diffs []difference) string {
	var b strings.Builder
	p := a.tablePaint()
	n := map[string]int{}
	for _, d := range diffs {
		n[d.Action]++
		switch d.Action {
		case "create":
			line := p.good("+ " + d.Object)
			if d.about != "" {
				line += "    " + d.about
			}
			b.WriteString(line + "\n")
		case "delete":
			b.WriteString(p.bad("- "+d.Object) + "\n")
		default:
			b.WriteString(p.warn("~ "+d.Object) + "\n")
			for _, c := range d.Fields {
				renderChange(&b, p, c)
			}
		}
	}
	fmt.Fprintf(&b, "%d to create, %d to update, %d to delete\n", n["create"], n["update"], n["delete"])
	return b.String()
}

func renderChange(b *strings.Builder, p painter, c change) {
	old, isOld := c.Old.(string)
	now, isNew := c.New.(string)
	if isOld && isNew && (strings.Contains(old, "\n") || strings.Contains(now, "\n")) {
		fmt.Fprintf(b, "    %s:\n", c.Path)
		for _, l := range diffLines(strings.Split(old, "\n"), strings.Split(now, "\n"), 40) {
			switch l[0] {
			case '+':
				l = p.good(l)
			case '-':
				l = p.bad(l)
			}
			b.WriteString("      " + l + "\n")
		}
		return
	}
	fmt.Fprintf(b, "    %s: %s → %s\n", c.Path, brief(c.Old), brief(c.New))
}

// brief writes a value in at most a line.
func brief(v any) string {
	if v == nil {
		return "(none)"
	}
	s, ok := v.(string)
	if !ok {
		data, err := marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		s = string(data)
	}
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return fmt.Sprintf("%s … (%d lines)", s[:i], strings.Count(s, "\n")+1)
	}
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}

// changes lists the fields in which two objects differ, the server's own ones
// left out.
func changes(before, after []byte) []change {
	x, y := map[string]any{}, map[string]any{}
	flattenAll("", own(before), x)
	flattenAll("", own(after), y)
	var out []change
	for k, v := range x {
		if w, ok := y[k]; !ok {
			out = append(out, change{k, v, nil})
		} else if fmt.Sprint(v) != fmt.Sprint(w) {
			out = append(out, change{k, v, w})
		}
	}
	for k, w := range y {
		if _, ok := x[k]; !ok {
			out = append(out, change{k, nil, w})
		}
	}
	slices.SortFunc(out, func(p, q change) int { return strings.Compare(p.Path, q.Path) })
	return out
}

func sameObject(before, after []byte) bool { return len(changes(before, after)) == 0 }

// own is an object without what the server writes.
func own(data []byte) map[string]any {
	var m map[string]any
	if json.Unmarshal(data, &m) != nil {
		return nil
	}
	delete(m, "status")
	if meta, ok := m["metadata"].(map[string]any); ok {
		m["metadata"] = map[string]any{"labels": meta["labels"], "annotations": meta["annotations"], "finalizers": meta["finalizers"], "ownerReferences": meta["ownerReferences"]}
	}
	return m
}

// flattenAll puts the scalars of v into out by their paths. Items of a list that
// have a name are known by it, so that a new one in front changes one line.
func flattenAll(path string, v any, out map[string]any) {
	switch x := v.(type) {
	case map[string]any:
		for k, item := range x {
			p := k
			if path != "" {
				p = path + "." + k
			}
			flattenAll(p, item, out)
		}
	case []any:
		for i, item := range x {
			key := fmt.Sprint(i)
			if m, ok := item.(map[string]any); ok {
				if name, ok := m["name"].(string); ok {
					key = name
				}
			}
			flattenAll(path+"["+key+"]", item, out)
		}
	case nil:
	default:
		out[path] = x
	}
}

// diffLines is the shortest list of removed (-) and added (+) lines that makes b
// of a; at most limit of them.
func diffLines(a, b []string, limit int) (out []string) {
	if len(a)*len(b) > 4_000_000 {
		return []string{fmt.Sprintf("~ %d lines became %d", len(a), len(b))}
	}
	common := make([][]int, len(a)+1) // longest common tail of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
			continue
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
		if len(out) == limit {
			return append(out, "… and more")
		}
	}
	return out
}
