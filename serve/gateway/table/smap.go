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
// It is a value, and its branches hold values, because each pointer followed on
// the way to a key is memory that is likely not in the processor's cache. The
// zero value is empty.
type smap[V any] struct {
	kids  *branch[V] // nil in a leaf
	items []item[V]  // never changed in place
	n     int        // keys in and below
}

type branch[V any] struct {
	kids [16]smap[V]
	own  *token
}

type item[V any] struct {
	hash uint64
	key  string
	v    V
}

// get returns the value of k.
func (s *smap[V]) get(k string) (v V, ok bool) {
	if s.kids == nil {
		for i := range s.items {
			if s.items[i].key == k {
				return s.items[i].v, true
			}
		}
		return v, false
	}
	hash := maphash.String(seed, k)
	s = s.leaf(hash)
	for i := range s.items {
		if s.items[i].hash == hash && s.items[i].key == k {
			return s.items[i].v, true
		}
	}
	return v, false
}

// getBytes is get without a string.
func (s *smap[V]) getBytes(k []byte) (v V, ok bool) {
	hash := maphash.Bytes(seed, k)
	s = s.leaf(hash)
	for i := range s.items {
		if s.items[i].hash == hash && s.items[i].key == string(k) {
			return s.items[i].v, true
		}
	}
	return v, false
}

func (s *smap[V]) leaf(hash uint64) *smap[V] {
	for s.kids != nil {
		s, hash = &s.kids.kids[hash&15], hash>>4
	}
	return s
}

// put returns a map with v under k.
func (s smap[V]) put(t *token, k string, v V) smap[V] {
	return s.set(t, item[V]{maphash.String(seed, k), k, v}, 0)
}

func (s smap[V]) set(t *token, it item[V], depth int) smap[V] {
	if s.kids != nil {
		s.kids = s.kids.owned(t)
		kid := &s.kids.kids[it.hash>>(4*depth)&15]
		before := kid.n
		*kid = kid.set(t, it, depth+1)
		s.n += kid.n - before
		return s
	}
	if i := s.index(it.key); i >= 0 {
		s.items = slices.Clone(s.items)
		s.items[i].v = it.v
		return s
	}
	items := append(append(make([]item[V], 0, len(s.items)+1), s.items...), it)
	if len(items) <= perLeaf || depth > 14 {
		return smap[V]{items: items, n: s.n + 1}
	}
	b := &branch[V]{own: t}
	for _, it := range items {
		kid := &b.kids[it.hash>>(4*depth)&15]
		*kid = kid.set(t, it, depth+1)
	}
	return smap[V]{kids: b, n: s.n + 1}
}

// del returns a map without k.
func (s smap[V]) del(t *token, k string) smap[V] {
	if _, had := s.get(k); !had {
		return s
	}
	return s.unset(t, k, maphash.String(seed, k))
}

func (s smap[V]) unset(t *token, k string, hash uint64) smap[V] {
	if s.n == 1 {
		return smap[V]{}
	}
	s.n--
	if s.kids != nil {
		s.kids = s.kids.owned(t)
		kid := &s.kids.kids[hash&15]
		*kid = kid.unset(t, k, hash>>4)
		return s
	}
	i := s.index(k)
	s.items = slices.Concat(s.items[:i], s.items[i+1:])
	return s
}

func (s *smap[V]) index(k string) int {
	return slices.IndexFunc(s.items, func(it item[V]) bool { return it.key == k })
}

// owned is b, or a copy of it that the change of t may alter.
func (b *branch[V]) owned(t *token) *branch[V] {
	if b.own == t {
		return b
	}
	c := *b
	c.own = t
	return &c
}
