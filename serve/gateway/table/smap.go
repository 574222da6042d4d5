package table

import (
	"hash/maphash"
	"maps"
)

// perShard is how many keys a shard holds before the map grows.
const perShard = 32

var seed = maphash.MakeSeed()

// token marks what was made within one change and may be changed in place.
type token struct{ _ byte }

// smap is a persistent map: changes copy one shard and the list of shards.
type smap[V any] struct {
	own    *token
	n      int
	shards []*shard[V] // length is a power of two
}

type shard[V any] struct {
	own *token
	m   map[string]V
}

func (s *smap[V]) at(k string) int {
	if len(s.shards) == 1 {
		return 0
	}
	return int(maphash.String(seed, k)) & (len(s.shards) - 1)
}

// get returns the value of k; a nil map has none.
func (s *smap[V]) get(k string) (v V, ok bool) {
	if s == nil || s.n == 0 {
		return v, false
	}
	sh := s.shards[s.at(k)]
	if sh == nil {
		return v, false
	}
	v, ok = sh.m[k]
	return v, ok
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
	s = s.owned(t)
	sh := s.shard(t, k)
	if _, had := sh.m[k]; !had {
		s.n++
	}
	sh.m[k] = v
	if s.n > perShard*len(s.shards) {
		s.grow(t)
	}
	return s
}

// del returns a map without k.
func (s *smap[V]) del(t *token, k string) *smap[V] {
	if _, had := s.get(k); !had {
		return s
	}
	s = s.owned(t)
	delete(s.shard(t, k).m, k)
	s.n--
	return s
}

func (s *smap[V]) owned(t *token) *smap[V] {
	switch {
	case s == nil:
		return &smap[V]{own: t, shards: make([]*shard[V], 1)}
	case s.own == t:
		return s
	}
	return &smap[V]{own: t, n: s.n, shards: append([]*shard[V](nil), s.shards...)}
}

// shard returns k's shard ready for a change; s is owned.
func (s *smap[V]) shard(t *token, k string) *shard[V] {
	i := s.at(k)
	switch sh := s.shards[i]; {
	case sh == nil:
		s.shards[i] = &shard[V]{own: t, m: map[string]V{}}
	case sh.own != t:
		s.shards[i] = &shard[V]{own: t, m: maps.Clone(sh.m)}
	}
	return s.shards[i]
}

func (s *smap[V]) grow(t *token) {
	old := s.shards
	s.shards = make([]*shard[V], 4*len(old))
	for _, sh := range old {
		if sh == nil {
			continue
		}
		for k, v := range sh.m {
			s.shard(t, k).m[k] = v
		}
	}
}

// getBytes is get without a string.
func (s *smap[V]) getBytes(k []byte) (v V, ok bool) {
	if s == nil || s.n == 0 {
		return v, false
	}
	i := 0
	if len(s.shards) > 1 {
		i = int(maphash.Bytes(seed, k)) & (len(s.shards) - 1)
	}
	if s.shards[i] == nil {
		return v, false
	}
	v, ok = s.shards[i].m[string(k)]
	return v, ok
}
