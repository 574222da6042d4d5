package cli

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

// Every template file ends in .tmpl, so that no tool takes it for code of this
// module; NAME in it becomes the function's name.
//
//go:embed all:templates
var templates embed.FS

// languages maps what people say to a template.
func languages() (names []string, of map[string]string) {
	of = map[string]string{
		"js": "js", "javascript": "js", "node": "js",
		"ts": "ts", "typescript": "ts",
		"py": "python", "python": "python",
		"go": "go", "golang": "go",
		"command": "command",
	}
	return []string{"js", "ts", "py", "go", "command"}, of
}

func (a *app) newCommand() *cobra.Command {
	var lang string
	names, _ := languages()
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a function to start from, with a sample request and a test",
		Example: `  hearth new hello
  hearth new shop --lang py
  hearth deploy hello && hearth invoke hello@sample`,
		Args: args(1, 1, "the name of the function"),
		RunE: func(_ *cobra.Command, args []string) error { return a.runNew(args[0], lang) },
	}
	cmd.Flags().StringVar(&lang, "lang", "js", "language: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runNew(where, lang string) error {
	name := filepath.Base(filepath.Clean(where))
	if why := api.CheckName(name); why != "" {
		e := usage("%s", why)
		if n := toName(name); n != "" && api.CheckName(n) == "" {
			e = e.WithHint("hearth new %s", n)
		}
		return e
	}
	names, of := languages()
	template, ok := of[strings.ToLower(lang)]
	if !ok {
		e := usage("there is no template for %q", lang).WithHint("--lang is one of %s", strings.Join(names, ", "))
		if n := api.Nearest(lang, append(names, "python", "javascript", "typescript")); n != "" {
			e = e.WithHint("did you mean --lang %s?", n)
		}
		return e
	}
	if entries, err := os.ReadDir(where); err == nil && len(entries) > 0 {
		return api.Errorf(api.CodeExists, "%s exists already and is not empty", where).WithHint("choose another name, or hearth deploy %s", where)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usage("cannot write %s: %v", where, err).WithHint("choose another name")
	}
	root := path.Join("templates", template)
	var written []string
	err := fs.WalkDir(templates, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(templates, p)
		if err != nil {
			return err
		}
		rel := strings.TrimSuffix(strings.TrimPrefix(p, root+"/"), ".tmpl")
		file := filepath.Join(where, filepath.FromSlash(rel))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		written = append(written, rel)
		return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "NAME", name)), 0o644)
	})
	if err != nil {
		return api.Errorf(api.CodeDisk, "cannot write %s: %w", where, err)
	}
	slices.Sort(written)
	if a.output == "name" {
		for _, w := range written {
			if err := a.data(filepath.Join(where, w) + "\n"); err != nil {
				return err
			}
		}
		return nil
	}
	if a.machine() {
		return a.showValue(map[string]any{"name": name, "folder": where, "files": written})
	}
	a.say("%s %s: %s", a.paint.good("✓"), where, strings.Join(written, ", "))
	a.say("  next: hearth deploy %s && hearth invoke %s@sample", where, name)
	return nil
}
