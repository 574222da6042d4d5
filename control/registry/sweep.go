package registry

import (
	"context"
	"errors"
	"os"
	"time"
)

// Sweep drops what nobody needs for longer than Grace: uploads that stand
// still, repositories of namespaces that are gone, manifests that lost their tag
// (see Options.Used), blobs no manifest of their repository names, and content no
// repository has. It returns the bytes that became free.
func (g *Registry) Sweep(ctx context.Context) (freed int64, err error) {
	g.uploads.expire(g.o.Grace)
	var used map[string]bool
	if g.o.Used != nil {
		if used, err = g.o.Used(ctx); err != nil {
			return 0, err
		}
	}
	g.files.sweep.Lock()
	defer g.files.sweep.Unlock()
	needed := map[string]bool{}
	gone := map[string]bool{}
	err = g.files.repos(func(n name) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		there, asked := !gone[n.namespace], gone[n.namespace]
		if g.o.Exists != nil && !asked {
			if there, err = g.o.Exists(ctx, n.namespace); err != nil {
				return err
			}
			gone[n.namespace] = !there
		}
		if !there {
			return problem(os.RemoveAll(g.files.repo(n)))
		}
		return g.sweepRepo(n, used, needed)
	})
	if err != nil {
		return 0, err
	}
	shards, err := names(g.files.at("blobs"))
	for _, s := range shards {
		blobs, e := names(g.files.at("blobs", s))
		err = errors.Join(err, e)
		for _, hex := range blobs {
			path := g.files.at("blobs", s, hex)
			st, e := os.Lstat(path)
			if e != nil || needed[hex] || time.Since(st.ModTime()) < g.o.Grace {
				continue
			}
			if e := os.Remove(path); e != nil {
				err = errors.Join(err, problem(e))
				continue
			}
			freed += st.Size()
		}
	}
	return freed, err
}

// sweepRepo drops what a repository does not need, and notes what it does.
func (g *Registry) sweepRepo(n name, used, needed map[string]bool) error {
	keep := map[string]bool{} // manifests
	tags, err := names(g.files.repo(n, "tags"))
	if err != nil {
		return err
	}
	for _, t := range tags {
		if l, ok, err := g.files.readLink(g.files.repo(n, "tags", t)); err != nil {
			return err
		} else if ok {
			keep[l.Digest] = true
		}
	}
	hexes, err := names(g.files.repo(n, "manifests"))
	if err != nil {
		return err
	}
	links, parts := map[string]link{}, map[string]manifest{}
	for _, hex := range hexes {
		l, ok, err := g.files.readLink(g.files.repo(n, "manifests", hex))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		m, err := g.read(digest(hex))
		if err != nil {
			return err // rather nothing is dropped than too much
		}
		links[l.Digest], parts[l.Digest] = l, m
		if g.o.Used == nil || used[l.Digest] || time.Since(l.Time) < g.o.Grace {
			keep[l.Digest] = true
		}
	}
	// What a kept one is made of, and what tells about one, is kept too.
	for more := true; more; {
		more = false
		add := func(d string) {
			if _, there := links[d]; there && !keep[d] {
				keep[d], more = true, true
			}
		}
		for d, m := range parts {
			if keep[d] {
				for _, x := range m.Manifests {
					add(x.Digest)
				}
			} else if s := links[d].Subject; s != "" && keep[s] {
				add(d)
			}
		}
	}
	blobs := map[string]bool{}
	for d, m := range parts {
		hex := d[len("sha256:"):]
		if !keep[d] {
			if _, err := remove(g.files.repo(n, "manifests", hex)); err != nil {
				return err
			}
			continue
		}
		needed[hex] = true
		if m.Config != nil {
			blobs[m.Config.Digest] = true
		}
		for _, l := range m.Layers {
			blobs[l.Digest] = true
		}
	}
	claims, err := names(g.files.repo(n, "blobs"))
	if err != nil {
		return err
	}
	for _, hex := range claims {
		path := g.files.repo(n, "blobs", hex)
		st, err := os.Lstat(path)
		if err == nil && !blobs[digest(hex).String()] && time.Since(st.ModTime()) >= g.o.Grace {
			if _, err := remove(path); err != nil {
				return err
			}
			continue
		}
		needed[hex] = true
	}
	// A repository without anything is none; these fail where there is something.
	for _, d := range []string{"tags", "manifests", "blobs", ""} {
		_ = os.Remove(g.files.repo(n, d))
	}
	return nil
}
