package cli

import (
	"bufio"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/manifest"
	"github.com/hearth-run/hearth/node"
)

func (a *app) deleteCommand() *cobra.Command {
	var files []string
	var labels string
	var dry bool
	cmd := &cobra.Command{
		Use:     "delete KIND/NAME… | -f FILE",
		Aliases: []string{"rm"},
		Short:   "Delete objects, and what belongs to them",
		Example: `  hearth delete function/hello
  hearth delete route shop cart
  hearth delete -f shop/
  hearth delete functions -l app=shop --yes`,
		ValidArgsFunction: a.completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDelete(cmd.Context(), args, files, labels, dry)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "delete what these manifests describe: a `file`, a folder, or - for standard input")
	cmd.Flags().StringVarP(&labels, "selector", "l", "", "delete all of a kind with these `labels`")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be deleted")
	return cmd
}

// doomed is an object to delete.
type doomed struct {
	kind      api.Kind
	name      string
	namespace string // empty: the command's
}

func (a *app) runDelete(ctx context.Context, args, files []string, labels string, dry bool) error {
	if len(args) == 0 && len(files) == 0 {
		return usage("hearth delete needs something to delete").WithHint("hearth delete function/NAME, or hearth delete -f FILE")
	}
	var list []doomed
	if len(files) > 0 {
		docs, err := manifest.Set(node.Kinds()).Load(files, a.In)
		if err != nil {
			return err
		}
		for i := len(docs) - 1; i >= 0; i-- { // the other way round than they were made
			list = append(list, doomed{docs[i].Kind, docs[i].Name, docs[i].Namespace})
		}
	}
	var bare []string // names without a kind
	for i, w := range args {
		k, name, ok := strings.Cut(w, "/")
		if !ok && i == 0 && (len(args) > 1 || labels != "") {
			kd, err := kind(w)
			if err != nil {
				return err
			}
			for _, n := range args[1:] {
				list = append(list, doomed{kind: kd, name: n})
			}
			if labels != "" && len(args) == 1 {
				return a.deleteSelected(ctx, kd, labels, dry)
			}
			break
		}
		if !ok {
			bare = append(bare, w)
			continue
		}
		kd, err := kind(k)
		if err != nil {
			return err
		}
		list = append(list, doomed{kind: kd, name: name})
	}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	for _, w := range bare {
		o, err := a.find(ctx, c, t, w)
		if err != nil {
			return err
		}
		list = append(list, doomed{kind: o.Kind, name: o.Meta.Name})
	}
	return a.deleteAll(ctx, c, t, list, dry, len(files) > 0)
}

func (a *app) deleteSelected(ctx context.Context, k api.Kind, labels string, dry bool) error {
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	l, err := c.List(ctx, k, client.ListOptions{Labels: labels})
	if err != nil {
		return err
	}
	var list []doomed
	for _, o := range l.Items {
		list = append(list, doomed{kind: k, name: o.Meta.Name})
	}
	if len(list) == 0 {
		a.say("no %s match %s", k.Plural, labels)
		return nil
	}
	if !dry {
		if err := a.ask("delete " + count(len(list), k.Singular) + " labelled " + labels + t.where()); err != nil {
			return err
		}
	}
	return a.deleteAll(ctx, c, t, list, dry, false)
}

// deleteAll deletes the list. Missing objects are errors unless they came from
// manifests, where the wish is that they be gone.
func (a *app) deleteAll(ctx context.Context, c *client.Client, t target, list []doomed, dry, quietMissing bool) error {
	var first error
	for _, d := range list {
		cc := c
		if d.namespace != "" {
			cc = c.In(d.namespace)
		}
		name := d.name
		if d.kind.Kind == "Revision" {
			name = objectName(name)
		}
		what := d.kind.Singular + "/" + d.name
		err := cc.Delete(ctx, d.kind, name, client.WriteOptions{DryRun: dry})
		switch {
		case err == nil && dry:
			a.say("%s would be deleted%s", what, t.where())
		case err == nil:
			a.say("%s %s deleted%s", a.paint.good("✓"), what, t.where())
		case api.IsCode(err, api.CodeNotFound) && quietMissing:
			a.say("  %s is not there", what)
			continue
		case api.IsCode(err, api.CodeNotFound):
			err = a.notFound(ctx, cc, t, d.kind, d.name, "cannot delete: no such "+d.kind.Singular)
			fallthrough
		default:
			if first == nil {
				first = err
			} else {
				a.say("%s %s: %v", a.paint.bad("✗"), what, err)
			}
			continue
		}
		if a.output == "name" {
			if err := a.data(what + "\n"); err != nil {
				return err
			}
		}
	}
	return first
}

// ask asks for a yes. Without a terminal it refuses and names the flag.
func (a *app) ask(question string) error {
	if a.yes {
		return nil
	}
	if !a.InTerminal || !a.ErrTerminal {
		return usage("cannot %s without being asked", question).WithHint("--yes answers the question")
	}
	fprintf(a.Err, "%s? [y/N] ", question)
	line, _ := bufio.NewReader(a.In).ReadString('\n') // an end of input is a no
	if s := strings.ToLower(strings.TrimSpace(line)); s == "y" || s == "yes" {
		return nil
	}
	a.say("nothing was changed")
	return exit(1)
}
