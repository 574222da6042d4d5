//go:build !linux

package sandbox

import (
	"context"
	"net/netip"

	"github.com/hearth-run/hearth/core/engine"
)

// SetLobby does nothing here: there are no private networks.
func (h *Host) SetLobby(Lobby) {}

// TenantAt knows nobody here.
func (h *Host) TenantAt(netip.Addr) string { return "" }

// SetTenant does nothing here.
func (b *Box) SetTenant(string) {}

// SetTenant does nothing here.
func (s *Shared) SetTenant(string) error { return nil }

// CheckNames says that names are not resolved inside instances here.
func (h *Host) CheckNames(context.Context) engine.Finding {
	return engine.Finding{Check: "names inside", Detail: "instances call each other by the gateway's address and a Host header only",
		Fix: "run hearth on Linux for private networks"}
}
