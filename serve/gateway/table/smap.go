package table

import (
	"hash/maphash"
	"slices"
)

// perLeaf is how many keys a leaf holds before it becomes a branch.
const perLeaf = 16

var seed = maphash.MakeSeed()

// token marks what was made within one change and may be changed in place.
type token struct{ _ byte }

// smap is a persistent map from strings: a leaf with a few items or a branch by
// four bits of the key's hash. A change copies one leaf and the branches above.
// It is a value, and its branches hold values, because each pointer followed on
// the way to a key is memory that is likely not in the processor's cache; for
// the same reason one byte of each item's hash is kept where the leaf is found.
// The zero value is empty.
type smap[V any] struct {
	kids  *branch[V] // nil in a leaf
	items []item[V]  // never changed in place
	n     int        // keys in and below
	tags  [perLeaf]byte
}

type branch[V any] struct {
	kids [16]smap[V]
	own  *token
}

type item[V any] struct {
	key string
	v   V
}

func hashOf(k string) uint64 { return maphash.String(seed, k) }

// tag is the part of a hash that branches use last.
func tag(hash uint64) byte { return byte(hash >> 56) }

// get returns the value of k, or nil. It is not to be changed.
func (s *smap[V]) get(k string) *V {
	if s.n == 1 && s.kids == nil { // no need for a hash
		if s.items[0].key == k {
			return &s.items[0].v
		}
		return nil
	}
	hash := hashOf(k)
	s = s.leaf(hash)
	for i := range s.items {
		if s.tags[i] == tag(hash) && s.items[i].key == k {
			return &s.items[i].v
		}
	}
	return nil
}

// getBytes is get without a string.
func (s *smap[V]) getBytes(k []byte) *V {
	hash := maphash.Bytes(seed, k)
	s = s.leaf(hash)
	for i := range s.items {
		if s.tags[i] == tag(hash) && s.items[i].key == string(k) {
			return &s.items[i].v
		}
	}
	return nil
}

func (s *smap[V]) leaf(hash uint64) *smap[V] {
	for s.kids != nil {
		s, hash = &s.kids.kids[hash&15], hash>>4
	}
	return s
}

// put returns a map with v under k.
func (s smap[V]) put(t *token, k string, v V) smap[V] {
	return s.set(t, item[V]{k, v}, hashOf(k), 0)
}

func (s smap[V]) set(t *token, it item[V], hash uint64, depth int) smap[V] {
	if s.kids != nil {
		s.kids = s.kids.owned(t)
		kid := &s.kids.kids[hash>>(4*depth)&15]
		before := kid.n
		*kid = kid.set(t, it, hash, depth+1)
		s.n += kid.n - before
		return s
	}
	if i := s.index(it.key); i >= 0 {
		s.items = slices.Clone(s.items)
		s.items[i] = it
		return s
	}
	if len(s.items) < perLeaf {
		s.tags[len(s.items)] = tag(hash)
		s.items = append(append(make([]item[V], 0, len(s.items)+1), s.items...), it)
		s.n++
		return s
	}
	b := &branch[V]{own: t}
	for _, it := range append(slices.Clip(s.items), it) {
		hash := hashOf(it.key)
		kid := &b.kids[hash>>(4*depth)&15]
		*kid = kid.set(t, it, hash, depth+1)
	}
	return smap[V]{kids: b, n: s.n + 1}
}

// del returns a map without k.
func (s smap[V]) del(t *token, k string) smap[V] {
	if s.get(k) == nil {
		return s
	}
	return s.unset(t, k, hashOf(k))
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
	copy(s.tags[i:], s.tags[i+1:])
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
