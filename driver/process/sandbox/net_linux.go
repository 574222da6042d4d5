package sandbox

import (
	"context"
	"os"
)

type network struct{}
type link struct{ ns int }

func (h *Host) openNetwork(ctx context.Context) {}
func (n *network) take() (*link, error)         { return nil, nil }
func (n *network) close() error                 { return nil }
func (l *link) release()                        {}

func (l *link) inside(f func() (*os.Process, error)) (*os.Process, error) { return f() }

func (n *network) describe() string { return "" }
func (h *Host) whyNoNet() string    { return "not made yet" }
