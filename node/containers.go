package node

import (
	"net"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox"
)

// openContainers opens the image store and the engine that runs its images in
// boxes of host. Where boxes cannot have a root of their own there is no such
// engine, and starting a container says why.
func (n *Node) openContainers(host *sandbox.Host, back net.Listener) error {
	changed := func(namespace, revision string) { n.foreign.Scaled(namespace, revision) }
	if n.cfg.Containers != nil {
		n.pods = newCounted(n.cfg.Containers, changed)
		n.engines.containers = n.pods
		return nil
	}
	if err := host.Containers(); err != nil {
		n.engines.missing = api.AsError(err)
		return nil
	}
	store, err := image.Open(image.Options{
		Dir: filepath.Join(n.State, "images"), Log: n.cfg.Log, Local: n.registry.Reader(), LocalHosts: []string{local(back), back.Addr().String()}, Overlay: host.Overlay(),
	})
	if err != nil {
		return err
	}
	e, err := container.Open(container.Options{
		State: filepath.Join(n.State, "containers"), Host: host, Images: store, Sink: n.records.AddLine, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.images, n.pods = store, newCounted(e, changed)
	n.engines.containers = n.pods
	return nil
}
