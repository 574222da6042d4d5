package table

import (
	"hash/maphash"
	"slices"
)

// perLeaf is how many keys a leaf holds before it becomes a branch.
const perLeaf = 8

var seed = maphash.MakeSeed()

// token marks what was made within one change and may be changed in place.
type token struct{ _ byte }

// smap is a persistent map from strings: a leaf with a few items or a branch by
// four bits of the key's hash. A change copies one leaf and the branches above.
// nil is an empty map.
type smap[V any] struct {
	own   *token
	n     int // keys in and below
	items []item[V]
	kids  *[16]*smap[V] // nil in a leaf
}

type item[V any] struct {
	hash uint64
	key  string
	v    V
}

// get returns the value of k.
func (s *smap[V]) get(k string) (v V, ok bool) {
	if s == nil {
		return v, false
	}
	if s.kids == nil {
		for i := range s.items {
			if s.items[i].key == k {
				return s.items[i].v, true
			}
		}
		return v, false
	}
	hash := maphash.String(seed, k)
	if s = s.leaf(hash); s != nil {
		for i := range s.items {
			if s.items[i].hash == hash && s.items[i].key == k {
				return s.items[i].v, true
			}
		}
	}
	return v, false
}

// getBytes is get without a string.
func (s *smap[V]) getBytes(k []byte) (v V, ok bool) {
	if s == nil {
		return v, false
	}
	hash := maphash.Bytes(seed, k)
	if s = s.leaf(hash); s != nil {
		for i := range s.items {
			if s.items[i].hash == hash && s.items[i].key == string(k) {
				return s.items[i].v, true
			}
		}
	}
	return v, false
}

func (s *smap[V]) leaf(hash uint64) *smap[V] {
	for s != nil && s.kids != nil {
		s, hash = s.kids[hash&15], hash>>4
	}
	return s
}

// size is the number of keys.
func (s *smap[V]) size() int {
	if s == nil {
		return 0
	}
	return s.n
}

// put returns a map with v under k.
func (s *smap[V]) put(t *token, k string, v V) *smap[V] {
	return s.set(t, item[V]{maphash.String(seed, k), k, v}, 0)
}

func (s *smap[V]) set(t *token, it item[V], depth int) *smap[V] {
	s = s.owned(t)
	if s.kids != nil {
		kid := &s.kids[it.hash>>(4*depth)&15]
		before := (*kid).size()
		*kid = (*kid).set(t, it, depth+1)
		s.n += (*kid).n - before
		return s
	}
	if i := s.index(it.key); i >= 0 {
		s.items[i].v = it.v
		return s
	}
	s.n++
	if len(s.items) < perLeaf || depth > 14 {
		s.items = append(s.items, it)
		return s
	}
	items := append(s.items, it)
	s.items, s.kids = nil, new([16]*smap[V])
	for _, it := range items {
		kid := &s.kids[it.hash>>(4*depth)&15]
		*kid = (*kid).set(t, it, depth+1)
	}
	return s
}

// del returns a map without k; nil when it was the last key.
func (s *smap[V]) del(t *token, k string) *smap[V] {
	if _, had := s.get(k); !had {
		return s
	}
	return s.unset(t, k, maphash.String(seed, k))
}

func (s *smap[V]) unset(t *token, k string, hash uint64) *smap[V] {
	if s.n == 1 {
		return nil
	}
	s = s.owned(t)
	s.n--
	if s.kids != nil {
		s.kids[hash&15] = s.kids[hash&15].unset(t, k, hash>>4)
		return s
	}
	i := s.index(k)
	s.items = slices.Delete(s.items, i, i+1)
	return s
}

func (s *smap[V]) index(k string) int {
	return slices.IndexFunc(s.items, func(it item[V]) bool { return it.key == k })
}

func (s *smap[V]) owned(t *token) *smap[V] {
	switch {
	case s == nil:
		return &smap[V]{own: t}
	case s.own == t:
		return s
	}
	c := &smap[V]{own: t, n: s.n, items: slices.Clone(s.items)}
	if s.kids != nil {
		kids := *s.kids
		c.kids = &kids
	}
	return c
}
