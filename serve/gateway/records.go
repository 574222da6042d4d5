package gateway

import (
	"encoding/json"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// record is where the revision seen of a record is kept, 0 for none; nil where
// there is no such place.
func (s *state) record(k store.Key) *int64 {
	name := k.Namespace + "/" + k.Name
	switch k.Resource {
	case api.Functions:
		if f := s.functions[name]; f != nil {
			return &f.record
		}
	case api.Revisions:
		if ref := s.revisions[name]; ref != nil {
			return &ref.record
		}
	case api.Routes:
		return s.written[name]
	}
	return nil
}

// newer reports whether revision is later than what was seen of k.
func (s *state) newer(k store.Key, revision int64) bool {
	seen := s.record(k)
	return seen == nil || *seen < revision
}

// retain takes out every record that is not listed.
func (s *state) retain(listed map[store.Key]bool) {
	check := func(resource, name string, seen int64) {
		k := store.Key{Resource: resource}
		if k.Namespace, k.Name, _ = strings.Cut(name, "/"); seen > 0 && !listed[k] {
			s.del(k)
		}
	}
	for name, f := range s.functions {
		check(api.Functions, name, f.record)
	}
	for name, ref := range s.revisions {
		check(api.Revisions, name, ref.record)
	}
	for name, seen := range s.written {
		check(api.Routes, name, *seen)
	}
}

// put takes a record in; it ignores other resources, and what is older than
// what it knows. The error is about the record, which is then left out.
func (s *state) put(r store.Record) error {
	if !s.newer(r.Key, r.Revision) {
		return nil
	}
	var err error
	switch r.Key.Resource {
	case api.Functions:
		s.function(r.Key.Namespace, r.Key.Name)
		var f api.Function
		if err = json.Unmarshal(r.Value, &f); err == nil {
			s.putFunction(r.Key, &f)
		}
	case api.Revisions:
		s.revision(r.Key.Namespace, r.Key.Name)
		v := new(api.Revision)
		if err = json.Unmarshal(r.Value, v); err == nil {
			err = s.putRevision(r.Key, v)
		}
	case api.Routes:
		s.route(r.Key.Namespace, r.Key.Name)
		v := new(api.Route)
		if err = json.Unmarshal(r.Value, v); err == nil {
			err = s.putRoute(r.Key, v)
		}
	default:
		return nil
	}
	seen := s.record(r.Key)
	if *seen == 0 {
		s.present++
	}
	*seen = r.Revision
	return err
}

// del takes a record out.
func (s *state) del(k store.Key) {
	seen := s.record(k)
	if seen == nil || *seen == 0 {
		return
	}
	*seen = 0
	s.present--
	if s.deleted++; s.deleted > s.present+1000 {
		defer s.sweep()
	}
	name := k.Namespace + "/" + k.Name
	switch k.Resource {
	case api.Functions:
		f := s.functions[name]
		f.exists.Store(false)
		f.rev.Store(nil)
		f.split.Store(nil)
		s.hide(f)
		if f.entry != nil {
			s.paths.RemoveAt(pathOf(f), f.entry)
			f.entry = nil
		}
	case api.Revisions:
		s.revisions[name].cur.Store(nil)
		s.seen.Delete(name)
	case api.Routes:
		s.withdraw(name)
		s.certs.drop(name)
		delete(s.written, name)
	}
}

// sweep forgets places of what is gone and nothing leads to.
func (s *state) sweep() {
	s.deleted = 0
	functions, revisions := map[*function]bool{}, map[*revisionRef]bool{}
	for _, es := range s.entries {
		for _, e := range es {
			e.Value.split.each(func(c *choice) { functions[c.function], revisions[c.revision] = true, true })
			if x := e.Value.rules; x != nil && x.mirror != nil {
				x.mirror.to.split.each(func(c *choice) { functions[c.function], revisions[c.revision] = true, true })
			}
		}
	}
	for _, f := range s.functions {
		revisions[f.rev.Load()] = true
		if p := f.split.Load(); p != nil {
			p.each(func(c *choice) { revisions[c.revision] = true })
		}
	}
	for k, ref := range s.revisions {
		r := ref.cur.Load()
		if r != nil {
			functions[r.function] = true
		} else if !revisions[ref] && ref.record == 0 {
			delete(s.revisions, k)
		}
	}
	for k, f := range s.functions {
		if !f.exists.Load() && !functions[f] && f.record == 0 {
			delete(s.functions, k)
		}
	}
}
