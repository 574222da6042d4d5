package engine

import "context"

// Progress is how far an engine is with what it must fetch before it can start
// an instance, such as the layers of images.
type Progress struct {
	Done, Total int64 // bytes; Total grows while more is found to be missing
}

// WithProgress returns a context whose Prepare and Start tell f how far they are,
// some times a second while something is fetched. f must not block; it is called
// by one goroutine at a time, and not after they have returned. Engines that fetch
// nothing from elsewhere do not call it.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

// Waiting is an Engine that can tell what a Start that goes on waits for.
type Waiting interface {
	// Waits says what an instance of a tenant's revision waits for that is being
	// started, as the end of "waiting for …", such as "port 8080; it listens on
	// port 3000"; of several the one that began first. It is empty when none is or
	// when there is nothing to tell. Asking each second is fine.
	Waits(tenant, revision string) string
}

// ProgressOf returns what WithProgress put into ctx, or nil.
func ProgressOf(ctx context.Context) func(Progress) {
	f, _ := ctx.Value(progressKey{}).(func(Progress))
	return f
}

type progressKey struct{}
