package node

import (
	"net"

	"github.com/hearth-run/hearth/sandbox"
)

// openContainers opens the engine of container images.
func (n *Node) openContainers(_ *sandbox.Host, _ net.Listener) error {
	if n.cfg.Containers != nil {
		n.pods = newCounted(n.cfg.Containers, func(namespace, revision string) { n.foreign.Scaled(namespace, revision) })
		n.engines.containers = n.pods
	}
	return nil
}
