package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

type getFlags struct {
	labels, fields string
	all, watch     bool
}

func (a *app) getCommand() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "get [KIND[,KIND…]] [NAME…]",
		Short: "List objects, or print them",
		Example: `  hearth get                          functions, services and routes
  hearth get functions -o wide
  hearth get function/hello -o yaml   as a manifest that can be applied again
  hearth get functions --jq '.items[].metadata.name'
  hearth get fn -w                    go on with every change`,
		ValidArgsFunction: a.completeKinds,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runGet(cmd.Context(), args, f) },
	}
	cmd.Flags().StringVarP(&f.labels, "selector", "l", "", "only objects with these `labels`: app=shop,tier!=web")
	cmd.Flags().StringVar(&f.fields, "field-selector", "", "only objects with these `fields`: metadata.name=hello")
	cmd.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of every tenant")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on with every change")
	return cmd
}

func (a *app) runGet(ctx context.Context, args []string, f getFlags) error {
	own := false // without what was made for another object
	if len(args) == 0 {
		args, own = []string{"functions,services,routes"}, true
	}
	var kinds []api.Kind
	var words []string
	if strings.Contains(args[0], "/") {
		words = args
	} else {
		for w := range strings.SplitSeq(args[0], ",") {
			k, err := kind(w)
			if err != nil && len(args) == 1 && w == args[0] && !strings.HasPrefix(api.AsError(err).Hint, "did you mean") {
				words = args // a name alone
				break
			}
			if err != nil {
				return err
			}
			kinds = append(kinds, k)
		}
		for _, name := range args[1:] {
			for _, k := range kinds {
				words = append(words, k.Singular+"/"+name)
			}
		}
	}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("reading from " + t.URL)
	defer p.done()
	if len(words) > 0 {
		if f.watch && len(words) == 1 && strings.Contains(words[0], "/") {
			k, name, _ := strings.Cut(words[0], "/")
			kd, err := kind(k)
			if err != nil {
				return err
			}
			p.done()
			return a.watch(ctx, c, kd, client.ListOptions{Fields: "metadata.name=" + objectName(name)})
		}
		var objs []client.Object
		for _, w := range words {
			o, err := a.find(ctx, c, t, w)
			if err != nil {
				return err
			}
			objs = append(objs, o)
		}
		p.done()
		if a.machine() || a.output == "name" {
			return a.showObjects(objs, len(objs) == 1)
		}
		return a.tables(objs, f.all)
	}
	o := client.ListOptions{AllNamespaces: f.all, Labels: f.labels, Fields: f.fields}
	if f.watch {
		if len(kinds) > 1 {
			return usage("--watch follows one kind").WithHint("hearth get %s --watch", kinds[0].Plural)
		}
		p.done()
		return a.watch(ctx, c, kinds[0], o)
	}
	var objs []client.Object
	for _, k := range kinds {
		l, err := c.List(ctx, k, o)
		if err != nil {
			return err
		}
		for _, o := range l.Items {
			if !own || len(o.Meta.OwnerReferences) == 0 {
				objs = append(objs, o)
			}
		}
	}
	p.done()
	if a.machine() || a.output == "name" {
		return a.showObjects(objs, false)
	}
	if len(objs) == 0 {
		a.say("%s", nothing(kinds, c.Namespace(), f))
		return nil
	}
	return a.tables(objs, f.all)
}

func nothing(kinds []api.Kind, ns string, f getFlags) string {
	var words []string
	for _, k := range kinds {
		words = append(words, k.Plural)
	}
	text := "no " + words[0]
	if n := len(words) - 1; n > 0 {
		text = "no " + strings.Join(words[:n], ", ") + " or " + words[n]
	}
	switch {
	case f.labels != "" || f.fields != "":
		text += " match"
	case kinds[0].Namespaced && !f.all:
		text += " in tenant " + ns
	}
	if kinds[0].Kind == "Function" {
		text += ": hearth deploy FILE makes a function"
	}
	return text
}

// tables prints one table per kind, in the order the kinds come.
func (a *app) tables(objs []client.Object, all bool) error {
	for i := 0; i < len(objs); {
		k := objs[i].Kind
		j := i
		var rows [][]string
		for ; j < len(objs) && objs[j].Kind.Kind == k.Kind; j++ {
			rows = append(rows, a.row(objs[j], all, time.Now()))
		}
		if i > 0 {
			fprintf(a.Out, "\n")
		}
		table(a.Out, a.tablePaint(), a.head(k, all), rows)
		i = j
	}
	return nil
}

func (a *app) head(k api.Kind, all bool) (head []string) {
	if all && k.Namespaced {
		head = append(head, "NAMESPACE")
	}
	head = append(head, "NAME")
	for _, c := range a.columns(k) {
		head = append(head, strings.ToUpper(c.Name))
	}
	return append(head, "AGE")
}

func (a *app) columns(k api.Kind) (out []api.Column) {
	for _, c := range k.Columns {
		if !c.Wide || a.output == "wide" {
			out = append(out, c)
		}
	}
	return out
}

func (a *app) row(o client.Object, all bool, now time.Time) (row []string) {
	if all && o.Kind.Namespaced {
		row = append(row, o.Meta.Namespace)
	}
	row = append(row, o.Meta.Name)
	var v any
	if json.Unmarshal(o.JSON, &v) != nil {
		v = nil
	}
	for _, c := range a.columns(o.Kind) {
		text := cell(v, c.Path)
		if t, err := time.Parse(time.RFC3339, text); c.Type == "date" && err == nil {
			text = age(now.Sub(t))
		}
		if c.Name == "Revision" {
			text = revisionText(text)
		}
		if text == "" {
			text = "-"
		}
		row = append(row, text)
	}
	when := "-"
	if ts := o.Meta.CreationTimestamp; ts != nil {
		when = age(now.Sub(ts.Time))
	}
	return append(row, when)
}

// cell reads the value at a column's path as text. A step may select a
// condition, or a key with dots: conditions[Ready], labels[example.com/a].
func cell(v any, path string) string {
	for path != "" {
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		name, selector := path[:end], ""
		if path = path[end:]; strings.HasPrefix(path, "[") {
			selector, path, _ = strings.Cut(path[1:], "]")
		}
		path = strings.TrimPrefix(path, ".")
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
		if selector == "" {
			continue
		}
		of := v
		v = nil
		switch t := of.(type) {
		case map[string]any:
			v = t[selector]
		case []any:
			for _, item := range t {
				if c, ok := item.(map[string]any); ok && c["type"] == selector {
					v = c
				}
			}
		}
	}
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		text, _, _ := strings.Cut(x, "\n")
		return text
	case float64, bool:
		return fmt.Sprint(x)
	}
	b, _ := marshal(v) // it came out of JSON
	return string(b)
}

// watch prints the objects and then every change until it is interrupted.
func (a *app) watch(ctx context.Context, c *client.Client, k api.Kind, o client.ListOptions) error {
	l, err := c.List(ctx, k, o)
	if err != nil {
		return err
	}
	head := a.head(k, o.AllNamespaces)
	widths := make([]int, len(head))
	line := func(cells []string) {
		var b strings.Builder
		for i, cell := range cells {
			widths[i] = max(widths[i], len([]rune(cell)))
			b.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+3))
		}
		fprintf(a.Out, "%s\n", strings.TrimRight(b.String(), " "))
	}
	emit := func(t client.EventType, obj client.Object) error {
		if a.machine() || a.output == "name" {
			if a.output == "yaml" {
				if err := a.data("---\n"); err != nil {
					return err
				}
			}
			return a.showObjects([]client.Object{obj}, true)
		}
		cells := a.row(obj, o.AllNamespaces, time.Now())
		if t == client.Deleted {
			cells[len(cells)-1] = "deleted"
		}
		line(cells)
		return nil
	}
	if !a.machine() && a.output != "name" {
		for _, obj := range l.Items { // widths first, so that the first lines agree
			for i, cell := range a.row(obj, o.AllNamespaces, time.Now()) {
				widths[i] = max(widths[i], len([]rune(cell)))
			}
		}
		line(head)
	}
	for _, obj := range l.Items {
		if err := emit(client.Added, obj); err != nil {
			return err
		}
	}
	for e, err := range c.Watch(ctx, k, o, l.Revision) {
		if err != nil {
			return err
		}
		if err := emit(e.Type, e.Object); err != nil {
			return err
		}
	}
	return ctx.Err()
}
