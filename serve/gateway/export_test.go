package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// ServeByNetHTTP is Serve with every connection handed to net/http at once.
func ServeByNetHTTP(ctx context.Context, g *Gateway, l net.Listener) error {
	s := g.server(nil, g)
	behind := &guardListener{Listener: l, ended: make(chan struct{}), handed: make(chan *guard)}
	return until(ctx, func() error {
		var wg sync.WaitGroup
		wg.Go(func() { s.Serve(behind) })
		for {
			nc, err := l.Accept()
			if err != nil {
				behind.Close()
				wg.Wait()
				return nil
			}
			behind.take(nc, nil)
		}
	}, s)
}

// Inside tells whether r comes from inside.
func (g *Gateway) Inside(r *http.Request) bool { return (&call{g: g, r: r}).inside() }

// Upgraded is how many connections go on without a handler.
func (g *Gateway) Upgraded() int { return g.relay.Len() }
