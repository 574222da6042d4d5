package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime"
)

// loading is how the instances of a runtime start and are given code.
type loading interface {
	// start returns an instance without user code; urgent says that a call
	// waits for it, else it is started with low priority.
	start(ctx context.Context, urgent bool) (*warm, error)
	// specialise gives i.warm the code in dir and sets i's protocol and dial.
	specialise(ctx context.Context, i *instance, dir string) error
	// close ends what start shares between instances.
	close()
}

// pool returns the pool for s, making it if it is the first of its kind.
// Everything fixed when a box starts is part of its key; all else is given to
// the box when it is specialised.
func (e *Engine) pool(s *engine.Spec) (*pool, error) {
	rt := s.Runtime
	k := kind{engine: e, runtime: rt, network: e.network(s), disk: s.Limits.DiskBytes}
	if k.disk == 0 {
		k.disk = api.DefaultDisk
	}
	key := k.key(s.Tenant)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, api.Errorf(api.CodeStartFailed, "the engine is closing")
	}
	if p := e.pools[key]; p != nil {
		return p, nil
	}
	l, err := k.loading()
	if err != nil {
		return nil, err
	}
	least := rt.PoolSize
	if least < 0 {
		least = 0
		if rt.Shared && k.disk == api.DefaultDisk && k.network == "host" {
			least = defaultLeast
		}
	}
	most := rt.PoolMax
	if most == 0 {
		most = defaultMost
	}
	p := newPool(rt.Name, l, least, most, nil)
	p.afford = func() int { return e.affordable(p) }
	e.pools[key] = p
	return p, nil
}

// defaultLeast is how many warm instances a built-in runtime in use keeps when
// nothing happens.
const defaultLeast = 2

// defaultMost bounds a pool however much memory there is: more warm instances
// than this help only bursts that the processors could not serve at once anyway.
const defaultMost = 100

// affordable is how many warm instances p may hold when all pools share the
// memory budget.
func (e *Engine) affordable(p *pool) int {
	// Called with p locked, so other pools are only tried: a pool that is busy
	// right now is counted next time.
	used, own := int64(0), p.memory()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.pools {
		if o != p && o.mu.TryLock() {
			used += int64(len(o.ready)) * o.memory()
			o.mu.Unlock()
		}
	}
	return int(max(0, e.budget-used) / own)
}

// kind is what boxes of one pool have in common.
type kind struct {
	engine  *Engine
	runtime engine.Runtime
	network string
	disk    int64
}

func (k kind) key(tenant string) string {
	if k.runtime.Shared {
		tenant = ""
	}
	sum := sha256.New()
	rt := k.runtime
	json.NewEncoder(sum).Encode([]any{rt.Name, rt.Base, rt.Protocol, rt.Command, rt.Folder, rt.Port, rt.Env, k.network, k.disk, tenant})
	return hex.EncodeToString(sum.Sum(nil))
}

func (k kind) loading() (loading, error) {
	switch k.runtime.Protocol {
	case api.ProtocolHearth:
		l, err := newLoader(k)
		if err != nil {
			return nil, err
		}
		if len(l.mother) > 0 {
			return newZygote(l), nil
		}
		return l, nil
	case api.ProtocolHTTP:
		return newProgram(k), nil
	case api.ProtocolFissionV1, api.ProtocolFissionV2, api.ProtocolFissionV3:
		return newEnvironment(k)
	default:
		return nil, api.Errorf(api.CodeInvalid, "runtime %s has the unknown protocol %q", k.runtime.Name, k.runtime.Protocol)
	}
}

// interpreter finds the host's interpreter of a built-in runtime.
func (k kind) interpreter() (runtime.Interpreter, error) {
	i := k.engine.find(k.runtime.Base)
	return i, i.Err
}

// network is the network of s: what it asks for, or what suits its protocol.
// Programs that serve a port get one of their own, so that no other function
// can reach it and all of them can have the same number; where the host has no
// private networks they get a free port of the machine's.
func (e *Engine) network(s *engine.Spec) string {
	switch {
	case s.Network != "":
		return s.Network
	case s.Runtime.Protocol == api.ProtocolHearth, s.Runtime.Base == api.RuntimeGo && s.Runtime.Port == 0:
		return "host"
	case e.private:
		return "private"
	}
	return "host"
}

func (e *Engine) newID(prefix string) string {
	return fmt.Sprintf("%s-%s%d", prefix, e.boot, e.serial.Add(1))
}
