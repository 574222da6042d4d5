package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"
)

// mediaProtobuf is how kubectl's typed commands (create secret, create
// namespace, auth can-i …) send the kinds of Kubernetes itself, whatever the
// server prefers. Only reading is needed: answers are JSON, which they accept.
const mediaProtobuf = "application/vnd.kubernetes.protobuf"

// wire says how a field of a message is read.
type wire int

const (
	wireText wire = iota
	wireBytes
	wireInt
	wireBool
	wireTime
	wireJSON // a message whose field 1 is JSON
	wireMessage
	wireTexts    // map of text to text
	wireTextData // map of text to bytes
)

// wireField is a field of a message by its number.
type wireField struct {
	name string
	as   wire
	many bool
	of   map[uint64]wireField
}

var errWire = errors.New("malformed")

func wireMeta() map[uint64]wireField {
	owner := map[uint64]wireField{
		1: {name: "kind"}, 3: {name: "name"}, 4: {name: "uid"}, 5: {name: "apiVersion"},
		6: {name: "controller", as: wireBool}, 7: {name: "blockOwnerDeletion", as: wireBool},
	}
	fields := map[uint64]wireField{
		1: {name: "manager"}, 2: {name: "operation"}, 3: {name: "apiVersion"}, 4: {name: "time", as: wireTime},
		6: {name: "fieldsType"}, 7: {name: "fieldsV1", as: wireJSON}, 8: {name: "subresource"},
	}
	return map[uint64]wireField{
		1: {name: "name"}, 2: {name: "generateName"}, 3: {name: "namespace"}, 5: {name: "uid"}, 6: {name: "resourceVersion"},
		7: {name: "generation", as: wireInt}, 8: {name: "creationTimestamp", as: wireTime}, 9: {name: "deletionTimestamp", as: wireTime},
		11: {name: "labels", as: wireTexts}, 12: {name: "annotations", as: wireTexts},
		13: {name: "ownerReferences", as: wireMessage, many: true, of: owner}, 14: {name: "finalizers", many: true},
		17: {name: "managedFields", as: wireMessage, many: true, of: fields},
	}
}

// wireKind is the layout of a message; nil for kinds not read this way.
func wireKind(kind string) map[uint64]wireField {
	meta := wireField{name: "metadata", as: wireMessage, of: wireMeta()}
	switch kind {
	case "Secret":
		return map[uint64]wireField{
			1: meta, 2: {name: "data", as: wireTextData}, 3: {name: "type"}, 4: {name: "stringData", as: wireTexts}, 5: {name: "immutable", as: wireBool},
		}
	case "ConfigMap":
		return map[uint64]wireField{
			1: meta, 2: {name: "data", as: wireTexts}, 3: {name: "binaryData", as: wireTextData}, 4: {name: "immutable", as: wireBool},
		}
	case "Namespace":
		return map[uint64]wireField{
			1: meta, 2: {name: "spec", as: wireMessage, of: map[uint64]wireField{1: {name: "finalizers", many: true}}},
			3: {name: "status", as: wireMessage, of: map[uint64]wireField{1: {name: "phase"}}},
		}
	case "Event":
		ref := map[uint64]wireField{
			1: {name: "kind"}, 2: {name: "namespace"}, 3: {name: "name"}, 4: {name: "uid"}, 5: {name: "apiVersion"}, 6: {name: "resourceVersion"}, 7: {name: "fieldPath"},
		}
		return map[uint64]wireField{
			1: meta, 2: {name: "involvedObject", as: wireMessage, of: ref}, 3: {name: "reason"}, 4: {name: "message"},
			5: {name: "source", as: wireMessage, of: map[uint64]wireField{1: {name: "component"}, 2: {name: "host"}}},
			6: {name: "firstTimestamp", as: wireTime}, 7: {name: "lastTimestamp", as: wireTime}, 8: {name: "count", as: wireInt}, 9: {name: "type"},
			10: {name: "eventTime", as: wireTime}, 12: {name: "action"}, 14: {name: "reportingComponent"}, 15: {name: "reportingInstance"},
		}
	case "DeleteOptions":
		return map[uint64]wireField{
			1: {name: "gracePeriodSeconds", as: wireInt},
			2: {name: "preconditions", as: wireMessage, of: map[uint64]wireField{1: {name: "uid"}, 2: {name: "resourceVersion"}}},
			3: {name: "orphanDependents", as: wireBool}, 4: {name: "propagationPolicy"}, 5: {name: "dryRun", many: true},
		}
	case "SelfSubjectAccessReview":
		attributes := map[uint64]wireField{
			1: {name: "namespace"}, 2: {name: "verb"}, 3: {name: "group"}, 4: {name: "version"}, 5: {name: "resource"}, 6: {name: "subresource"}, 7: {name: "name"},
		}
		return map[uint64]wireField{1: meta, 2: {name: "spec", as: wireMessage, of: map[uint64]wireField{
			1: {name: "resourceAttributes", as: wireMessage, of: attributes},
			2: {name: "nonResourceAttributes", as: wireMessage, of: map[uint64]wireField{1: {name: "path"}, 2: {name: "verb"}}},
		}}}
	case "SelfSubjectRulesReview":
		return map[uint64]wireField{1: meta, 2: {name: "spec", as: wireMessage, of: map[uint64]wireField{1: {name: "namespace"}}}}
	case "SelfSubjectReview":
		return map[uint64]wireField{1: meta}
	}
	return nil
}

// protobufToJSON turns an enveloped message into the same object in JSON.
func protobufToJSON(data []byte) ([]byte, error) {
	raw, ok := bytes.CutPrefix(data, []byte("k8s\x00"))
	bad := badRequest("send JSON", "the body is no message in Kubernetes' protobuf envelope")
	if !ok {
		return nil, bad
	}
	envelope, err := readMessage(raw, map[uint64]wireField{
		1: {name: "type", as: wireMessage, of: map[uint64]wireField{1: {name: "apiVersion"}, 2: {name: "kind"}}},
		2: {name: "raw", as: wireBytes},
	})
	if err != nil {
		return nil, bad
	}
	kind := text(envelope, "type", "kind")
	layout := wireKind(kind)
	if layout == nil {
		return nil, badRequest("send it as JSON", "objects of kind %q are not read in protobuf", kind)
	}
	inner, err := base64.StdEncoding.DecodeString(text(envelope, "raw"))
	if err != nil {
		return nil, bad
	}
	o, err := readMessage(inner, layout)
	if err != nil {
		return nil, bad
	}
	o["apiVersion"], o["kind"] = text(envelope, "type", "apiVersion"), kind
	return json.Marshal(o)
}

// readMessage reads the fields a layout names and passes over the others.
func readMessage(b []byte, layout map[uint64]wireField) (object, error) {
	o := object{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errWire
		}
		b = b[n:]
		var number uint64
		var chunk []byte
		switch tag & 7 {
		case 0:
			if number, n = binary.Uvarint(b); n <= 0 {
				return nil, errWire
			}
		case 1:
			n = 8
		case 2:
			size, k := binary.Uvarint(b)
			if k <= 0 || size > uint64(len(b)-k) {
				return nil, errWire
			}
			chunk, n = b[k:k+int(size)], k+int(size)
		case 5:
			n = 4
		default:
			return nil, errWire
		}
		if n > len(b) {
			return nil, errWire
		}
		b = b[n:]
		f, ok := layout[tag>>3]
		if !ok {
			continue
		}
		if wantsNumber := f.as == wireInt || f.as == wireBool; wantsNumber != (tag&7 == 0) || !wantsNumber && tag&7 != 2 {
			return nil, errWire
		}
		if err := f.read(o, number, chunk); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (f wireField) read(o object, number uint64, chunk []byte) error {
	var v any
	switch f.as {
	case wireText:
		v = string(chunk)
	case wireBytes:
		v = base64.StdEncoding.EncodeToString(chunk)
	case wireInt:
		v = int64(number)
	case wireBool:
		v = number != 0
	case wireTime:
		m, err := readMessage(chunk, map[uint64]wireField{1: {name: "s", as: wireInt}, 2: {name: "n", as: wireInt}})
		if err != nil {
			return err
		}
		s, _ := m["s"].(int64)
		if s == 0 || s < -1<<36 || s > 1<<37 {
			return nil // the zero time means absent
		}
		v = time.Unix(s, 0).UTC().Format(time.RFC3339)
	case wireJSON:
		m, err := readMessage(chunk, map[uint64]wireField{1: {name: "raw"}})
		if err != nil {
			return err
		}
		if v, err = parse([]byte(text(m, "raw"))); err != nil {
			return errWire
		}
	case wireMessage:
		m, err := readMessage(chunk, f.of)
		if err != nil {
			return err
		}
		v = m
	case wireTexts, wireTextData:
		as := wireText
		if f.as == wireTextData {
			as = wireBytes
		}
		entry, err := readMessage(chunk, map[uint64]wireField{1: {name: "k"}, 2: {name: "v", as: as}})
		if err != nil {
			return err
		}
		m, ok := o[f.name].(object)
		if !ok {
			m = object{}
			o[f.name] = m
		}
		m[text(entry, "k")] = text(entry, "v")
		return nil
	}
	if f.many {
		l, _ := o[f.name].([]any)
		o[f.name] = append(l, v)
		return nil
	}
	if v == "" {
		return nil // the empty text means absent
	}
	o[f.name] = v
	return nil
}
