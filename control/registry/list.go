package registry

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// most is how many names one answer has, unless fewer are asked for.
const most = 1000

// tags lists a repository's tags.
func (g *Registry) tags(c *call) error {
	all, err := names(g.files.repo(c.in, "tags"))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		if m, err := names(g.files.repo(c.in, "manifests")); err != nil || len(m) == 0 {
			return &failure{http.StatusNotFound, "NAME_UNKNOWN", "there is no repository " + c.in.String()}
		}
	}
	page, err := paged(c.w, c.r, all)
	if err != nil {
		return err
	}
	return answer(c.w, http.StatusOK, map[string]any{"name": c.in.String(), "tags": page})
}

// catalog lists the repositories the caller may list.
func (g *Registry) catalog(w http.ResponseWriter, r *http.Request, may func(string, name) error) error {
	var all []string
	err := g.files.repos(func(n name) error {
		m, err := names(g.files.repo(n, "manifests"))
		if err == nil && len(m) > 0 && may("list", n) == nil {
			all = append(all, n.String())
		}
		return err
	})
	if err != nil {
		return err
	}
	page, err := paged(w, r, all)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"repositories": page})
}

// repos calls f for every repository.
func (f *files) repos(each func(n name) error) error {
	spaces, err := names(f.at("repos"))
	if err != nil {
		return err
	}
	for _, ns := range spaces {
		folders, err := names(f.at("repos", ns))
		if err != nil {
			return err
		}
		for _, folder := range folders {
			if err := each(nameOf(ns, folder)); err != nil {
				return err
			}
		}
	}
	return nil
}

// paged cuts a list as the parameters n and last say, and tells where it goes on.
func paged(w http.ResponseWriter, r *http.Request, all []string) ([]string, error) {
	q := r.URL.Query()
	n := most
	if s := q.Get("n"); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil || v < 0 {
			return nil, &failure{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is a number"}
		}
		n = min(v, most)
	}
	slices.Sort(all)
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if len(all) > n {
		all = all[:n]
		if n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}
			w.Header().Set("Link", "<"+r.URL.Path+"?"+next.Encode()+`>; rel="next"`)
		}
	}
	return append([]string{}, all...), nil
}
