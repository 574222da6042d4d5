package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// settle is how long files must be quiet before they are deployed: editors
// write in several steps.
const settle = 100 * time.Millisecond

// deployment is a file or folder that up keeps deployed.
type deployment struct {
	path    string
	name    atomic.Pointer[string] // of the function, once known
	serving string                 // revision that answers
}

// function is the name of the function; empty while it is not known.
func (d *deployment) function() string {
	if n := d.name.Load(); n != nil {
		return *n
	}
	return ""
}

// work deploys what was given, then watches it until ctx ends.
func (u *up) work(ctx context.Context) {
	var w *fsnotify.Watcher
	if len(u.targets) > 0 && !u.flags.noWatch {
		var err error
		if w, err = u.watcher(); err != nil {
			u.a.say("%s cannot watch for changes: %v; hearth deploy deploys them", u.a.paint.warn("!"), err)
		} else {
			defer w.Close()
		}
	}
	for _, d := range u.targets {
		u.redeploy(ctx, d, "")
	}
	if len(u.targets) == 0 {
		u.present(ctx)
	}
	if u.a.InTerminal && u.a.ErrTerminal && !u.a.quiet {
		u.a.say("  %s", keyLine(u.a.paint))
	}
	if w != nil {
		u.watch(ctx, w)
	}
}

// present tells what is deployed from earlier runs.
func (u *up) present(ctx context.Context) {
	l, err := u.c.List(ctx, mustKind("function"), client.ListOptions{AllNamespaces: true})
	if err != nil {
		return
	}
	if len(l.Items) == 0 {
		u.a.say("  nothing deployed yet: hearth deploy <file>, or hearth new hello")
		return
	}
	var words []string
	for _, o := range l.Items[:min(8, len(l.Items))] {
		words = append(words, o.Meta.Name)
	}
	if n := len(l.Items) - len(words); n > 0 {
		words = append(words, fmt.Sprintf("and %d more", n))
	}
	u.a.say("  %s: %s", count(len(l.Items), "function"), strings.Join(words, "   "))
}

// watcher watches every folder that holds a part of the targets.
func (u *up) watcher() (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, d := range u.targets {
		if err := addFolders(w, d.path); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// addFolders watches a folder and those below it, or the folder of a file:
// editors replace files, and a watch on the file itself would be lost.
func addFolders(w *fsnotify.Watcher, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.Add(filepath.Dir(path))
	}
	ig, err := readIgnore(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if rel, err := filepath.Rel(path, p); err == nil && rel != "." && ig.ignores(filepath.ToSlash(rel), true) {
			return fs.SkipDir
		}
		return w.Add(p)
	})
}

// watch deploys targets that changed, when they have been quiet for a moment.
func (u *up) watch(ctx context.Context, w *fsnotify.Watcher) {
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	changed := map[*deployment]string{} // what changed in it
	for {
		select {
		case <-ctx.Done():
			return
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			u.a.say("%s watching: %v", u.a.paint.warn("!"), err)
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if e.Op == fsnotify.Chmod {
				continue
			}
			if info, err := os.Stat(e.Name); e.Op.Has(fsnotify.Create) && err == nil && info.IsDir() {
				_ = addFolders(w, e.Name) // it may be gone again
			}
			for _, d := range u.targets {
				if file, ok := d.holds(e.Name); ok {
					changed[d] = file
					quiet.Reset(settle)
				}
			}
		case <-quiet.C:
			for _, d := range u.targets {
				if file, ok := changed[d]; ok {
					delete(changed, d)
					u.redeploy(ctx, d, file)
				}
			}
		}
	}
}

// holds reports whether a changed file belongs to the deployment, and how to
// call it.
func (d *deployment) holds(file string) (string, bool) {
	info, err := os.Stat(d.path)
	if err != nil {
		return "", false // being replaced: the next event tells
	}
	if !info.IsDir() {
		return filepath.Base(d.path), filepath.Clean(file) == filepath.Clean(d.path)
	}
	rel, err := filepath.Rel(d.path, file)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	rel = filepath.ToSlash(rel)
	if strings.HasSuffix(rel, "~") || strings.HasSuffix(rel, ".swp") || strings.HasPrefix(filepath.Base(rel), ".#") {
		return "", false
	}
	ig, err := readIgnore(d.path)
	if err != nil {
		return rel, true
	}
	for dir := filepath.ToSlash(filepath.Dir(rel)); dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
		if ig.ignores(dir, true) {
			return "", false
		}
	}
	return rel, !ig.ignores(rel, false)
}

// redeploy deploys d through the same code as hearth deploy and tells what came
// of it. file is what changed; empty at the start.
func (u *up) redeploy(ctx context.Context, d *deployment, file string) {
	a := u.a
	began := time.Now()
	s, err := readSource(d.path, deployFlags{})
	var o client.Object
	if err == nil {
		d.name.Store(&s.name)
		p := a.progress("deploying " + s.name)
		o, err = a.deploy(ctx, u.c, s, deployFlags{}, p)
		p.done()
	}
	if ctx.Err() != nil {
		return
	}
	now := a.paint.dim(began.Format(time.TimeOnly))
	if err != nil {
		u.tellFailure(d, now, asError(ctx, err))
		return
	}
	var fn api.Function
	if err := o.Into(&fn); err != nil {
		u.tellFailure(d, now, asError(ctx, err))
		return
	}
	was := d.serving
	d.serving = revisionText(fn.Status.LatestReadyRevision)
	took := short(time.Since(began))
	switch {
	case file == "":
		a.say("  %s %-12s %s   %s", a.paint.good("✓"), d.serving, fn.Status.URL, took)
	case d.serving == was:
		a.say("  %s  %s saved, nothing changed; %s serving", now, file, d.serving)
	default:
		a.say("  %s  %s changed → %s serving   %s", now, file, d.serving, took)
	}
}

// tellFailure prints a failed deployment, and that nothing stopped.
func (u *up) tellFailure(d *deployment, now string, e *api.Error) {
	const in = "            "
	name := d.function()
	if name == "" {
		name = d.path
	}
	text := e.Message
	if !strings.HasPrefix(text, name) {
		text = name + ": " + text
	}
	u.a.say("  %s  %s %s", now, u.a.paint.bad("✗"), indent(text, in))
	if e.Detail != "" {
		u.a.say("%s%s", in, indent(strings.TrimRight(e.Detail, "\n"), in))
	}
	if d.serving != "" {
		u.a.say("%s%s keeps serving", in, d.serving)
	}
	hint := e.Help()
	if e.Code == api.CodeBuildFailed || e.Code == api.CodeLoadFailed {
		hint = "fix the file and save; nothing to restart"
	}
	u.a.say("%s%s %s", in, u.a.paint.dim("hint:"), hint)
}
