package node

import (
	"context"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/sandbox"
	"github.com/hearth-run/hearth/serve/names"
)

// lobby is where instances with a private network ask for names and call each
// other, whatever port the gateway has for the rest of the world.
func (n *Node) lobby() sandbox.Lobby {
	return sandbox.Lobby{Domain: api.ClusterDomain, Open: func(s sandbox.LobbySockets) (end func()) {
		ctx, cancel := context.WithCancel(context.Background())
		answers := names.New(names.Config{
			Domain: api.ClusterDomain, Address: s.Address, Known: n.gateway.Resolves, Tenant: n.engine.Host().TenantAt, Log: n.cfg.Log,
		})
		var wg sync.WaitGroup
		wg.Go(func() { n.end(answers.Serve(ctx, s.Names, s.Streams)) })
		wg.Go(func() { n.end(n.gateway.ServeNear(ctx, s.Calls)) })
		return func() {
			cancel()
			wg.Wait()
		}
	}}
}
