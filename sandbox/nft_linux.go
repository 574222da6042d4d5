package sandbox

import (
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// table writes the rules of the private networks, all at once:
//
//	forward: from a box with a foreign address: drop
//	         from a box to the lobby's ports, and its answers: accept
//	         box to box, box to 169.254/16: drop
//	         to a box, unless it answers: drop
//	         from an interface forwarding was off for, not to a box of any hearth: drop
//	postrouting: from the subnet, not to a box: masquerade
func (n *network) table() error {
	c := &nftables.Conn{}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: n.h.name()})
	accept := nftables.ChainPolicyAccept
	forward := c.AddChain(&nftables.Chain{Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &accept})
	nat := c.AddChain(&nftables.Chain{Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &accept})
	drop := []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	rule := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
	}
	addr := n.subnet.Addr().As4()
	mask := net.CIDRMask(n.subnet.Bits(), 32)
	ours := func(op expr.CmpOp) []expr.Any { return address(12, addr[:], mask, op) }

	rule(forward, name(expr.MetaKeyIIFNAME, n.prefix, expr.CmpOpEq), ours(expr.CmpOpNeq), drop)
	if n.h.lobby.Open != nil {
		accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
		lobby := n.linkName(lobbySlot) + "\x00"
		for _, p := range lobbyPorts() {
			rule(forward, name(expr.MetaKeyIIFNAME, n.prefix, expr.CmpOpEq), name(expr.MetaKeyOIFNAME, lobby, expr.CmpOpEq), port(p.protocol, p.port), accept)
		}
		rule(forward, name(expr.MetaKeyIIFNAME, lobby, expr.CmpOpEq), name(expr.MetaKeyOIFNAME, n.prefix, expr.CmpOpEq), answering(expr.CmpOpNeq), accept)
	}
	// Another hearth's boxes are its own affair, as long as they stay away from ours.
	rule(forward, name(expr.MetaKeyIIFNAME, n.prefix, expr.CmpOpEq), name(expr.MetaKeyOIFNAME, linkPrefix, expr.CmpOpEq), drop)
	rule(forward, name(expr.MetaKeyIIFNAME, linkPrefix, expr.CmpOpEq), name(expr.MetaKeyOIFNAME, n.prefix, expr.CmpOpEq), drop)
	rule(forward, name(expr.MetaKeyIIFNAME, n.prefix, expr.CmpOpEq), address(16, []byte{169, 254, 0, 0}, net.CIDRMask(16, 32), expr.CmpOpEq), drop)
	rule(forward, name(expr.MetaKeyOIFNAME, n.prefix, expr.CmpOpEq), answering(expr.CmpOpEq), drop)
	for _, up := range n.forward {
		rule(forward, name(expr.MetaKeyIIFNAME, up+"\x00", expr.CmpOpEq), name(expr.MetaKeyOIFNAME, linkPrefix, expr.CmpOpNeq), drop)
	}
	rule(nat, ours(expr.CmpOpEq), name(expr.MetaKeyOIFNAME, linkPrefix, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})
	return c.Flush()
}

// name compares the beginning of an interface's name; a trailing zero byte
// makes it the whole.
func name(key expr.MetaKey, begin string, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(begin)}}
}

// address compares the network of the source (offset 12) or destination (16).
func address(offset uint32, network []byte, mask net.IPMask, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: op, Register: 1, Data: network},
	}
}

// port compares protocol and destination port.
func port(protocol byte, n uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(n)},
	}
}

// answering matches packets of no established connection (CmpOpEq), or of one (CmpOpNeq).
func answering(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// claimed reports whether another hearth has switched forwarding on for an
// interface: its table has the rule that says so.
func claimed(up, own string) bool {
	c := &nftables.Conn{}
	tables, _ := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	for _, t := range tables {
		if t.Name == own || !strings.HasPrefix(t.Name, namePrefix) {
			continue
		}
		rules, _ := c.GetRules(t, &nftables.Chain{Name: "forward", Table: t})
		for _, r := range rules {
			for _, e := range r.Exprs {
				if cmp, ok := e.(*expr.Cmp); ok && string(cmp.Data) == up+"\x00" {
					return true
				}
			}
		}
	}
	return false
}

// dropTable removes our table; one that is not there is no error.
func dropTable(name string) error {
	c := &nftables.Conn{}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Name == name {
			c.DelTable(t)
			return c.Flush()
		}
	}
	return nil
}
