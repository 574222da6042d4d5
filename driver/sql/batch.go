package sql

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/hearth-run/hearth/core/record"
)

// batchCalls is the most calls of one row: what a reader decodes at once.
const batchCalls = 1000

var errBatch = errors.New("a batch of calls is damaged")

// texts are the strings of a call, in the order they are kept.
func texts(c *record.Call) [10]*string {
	return [...]*string{&c.Request, &c.Tenant, &c.Function, &c.Revision, &c.Instance, &c.Route, &c.Method, &c.Path, &c.Code, &c.Trace}
}

// appendCalls appends calls as one row keeps them: numbers as varints, and of a
// text that equals the one of the call before only that it does.
func appendCalls(b []byte, calls []record.Call) []byte {
	b = binary.AppendUvarint(b, uint64(len(calls)))
	before := &record.Call{}
	for i := range calls {
		c := &calls[i]
		cold := int64(0)
		if c.Cold {
			cold = 1
		}
		for _, n := range [...]int64{stamp(c.Time), int64(c.Status), int64(c.Duration), int64(c.Queued), cold, c.In, c.Out} {
			b = binary.AppendVarint(b, n)
		}
		old := texts(before)
		for j, s := range texts(c) {
			if *s == *old[j] {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(*s))+1)
			b = append(b, *s...)
		}
		before = c
	}
	return b
}

// parseCalls is the reverse of appendCalls.
func parseCalls(b []byte) ([]record.Call, error) {
	count, w := binary.Uvarint(b)
	if w <= 0 || count > uint64(len(b)) {
		return nil, errBatch
	}
	b = b[w:]
	calls := make([]record.Call, count)
	before := &record.Call{}
	for i := range calls {
		c := &calls[i]
		var n [7]int64
		for j := range n {
			v, w := binary.Varint(b)
			if w <= 0 {
				return nil, errBatch
			}
			n[j], b = v, b[w:]
		}
		c.Time, c.Status, c.Duration, c.Queued, c.Cold, c.In, c.Out = moment(n[0]), int(n[1]), time.Duration(n[2]), time.Duration(n[3]), n[4] == 1, n[5], n[6]
		old := texts(before)
		for j, s := range texts(c) {
			l, w := binary.Uvarint(b)
			if w <= 0 || l > uint64(len(b)-w)+1 {
				return nil, errBatch
			}
			if b = b[w:]; l == 0 {
				*s = *old[j]
				continue
			}
			*s, b = string(b[:l-1]), b[l-1:]
		}
		before = c
	}
	if len(b) > 0 {
		return nil, errBatch
	}
	return calls, nil
}
