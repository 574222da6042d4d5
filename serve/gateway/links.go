package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
	"github.com/hearth-run/hearth/serve/gateway/h2"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// links are the connections to instances, kept by instance and dropped when it
// ends.
type links struct {
	m sync.Map // instance id → *link
}

// link is how one instance is reached: by http, by h2 or by framed.
type link struct {
	instance engine.Instance
	http     *h1.Client
	h2       *h2.Client

	mu     sync.RWMutex
	framed *frame.Client
	closed bool
}

func (ls *links) of(in engine.Instance) *link {
	id := in.ID()
	if v, ok := ls.m.Load(id); ok {
		return v.(*link)
	}
	l := &link{instance: in}
	switch in.Protocol() {
	case api.ProtocolHearth:
	case api.ProtocolH2C:
		l.h2 = h2.NewClient(in.Dial)
	default:
		l.http = h1.New(in.Dial)
	}
	if v, had := ls.m.LoadOrStore(id, l); had {
		return v.(*link)
	}
	go func() {
		<-in.Done()
		ls.m.Delete(id)
		l.close()
	}()
	return l
}

func (ls *links) close() {
	ls.m.Range(func(_, v any) bool {
		v.(*link).close()
		return true
	})
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.http != nil {
		l.http.Close()
	}
	if l.h2 != nil {
		l.h2.Close()
	}
	if l.framed != nil {
		l.framed.Close()
	}
}

// client returns a living data connection of a framed instance.
func (l *link) client(ctx context.Context) (*frame.Client, error) {
	l.mu.RLock()
	c := l.framed
	l.mu.RUnlock()
	if c != nil && c.Err() == nil {
		return c, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.framed != nil && l.framed.Err() == nil {
		return l.framed, nil
	}
	if l.closed {
		return nil, lost(net.ErrClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nc, err := l.instance.Dial(ctx)
	if err != nil {
		return nil, lost(err)
	}
	l.framed = frame.NewClient(socket.Wrap(nc), frame.Options{Role: frame.RoleData})
	return l.framed, nil
}

func lost(err error) error {
	return &api.Error{Code: api.CodeInstanceLost, Message: "the instance does not answer", Cause: fmt.Errorf("%w: %w", frame.ErrUnanswered, err)}
}
