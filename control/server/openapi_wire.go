package server

import (
	"encoding/binary"
	"encoding/json"

	"github.com/hearth-run/hearth/api"
)

// mediaOpenAPI is the description in version 2 as a protocol buffer. kubectl
// asks for it when it sends lists, and older ones always; its request writes @
// where a media type may have none.
const mediaOpenAPI = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

// encoder is a message of protocol buffers under construction.
type encoder []byte

func (w *encoder) bytes(field int, b []byte) {
	*w = binary.AppendUvarint(*w, uint64(field)<<3|2)
	*w = binary.AppendUvarint(*w, uint64(len(b)))
	*w = append(*w, b...)
}

func (w *encoder) text(field int, s string) { w.bytes(field, []byte(s)) }

func (w *encoder) message(field int, build func(*encoder)) {
	var m encoder
	build(&m)
	w.bytes(field, m)
}

// extension adds a NamedAny whose value is JSON, which is YAML, too.
func (w *encoder) extension(field int, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.message(field, func(w *encoder) {
		w.text(1, name)
		w.message(2, func(w *encoder) { w.bytes(2, b) })
	})
	return nil
}

// openAPIWire writes which kinds there are and that the server itself checks
// their fields: of each a schema without fields, and the operation that tells
// which parameters it takes.
func openAPIWire(kinds []api.Kind, version string) ([]byte, error) {
	var doc, paths, definitions encoder
	var failed error
	const named = "x-kubernetes-group-version-kind"
	note := func(err error) {
		if err != nil {
			failed = err
		}
	}
	for _, k := range kinds {
		p := "/api/" + k.Version
		if k.Group != "" {
			p = "/apis/" + k.Group + "/" + k.Version
		}
		if k.Namespaced {
			p += "/namespaces/{namespace}"
		}
		paths.message(2, func(w *encoder) {
			w.text(1, p+"/"+k.Plural+"/{name}")
			w.message(2, func(w *encoder) {
				w.message(8, func(w *encoder) { // patch
					for _, param := range []string{"dryRun", "fieldManager", "fieldValidation", "force"} {
						w.message(8, func(w *encoder) {
							w.message(1, func(w *encoder) {
								w.message(2, func(w *encoder) {
									w.message(3, func(w *encoder) { w.text(2, "query"); w.text(4, param); w.text(6, "string") })
								})
							})
						})
					}
					note(w.extension(13, named, gvk(k)))
				})
			})
		})
		definitions.message(1, func(w *encoder) {
			w.text(1, schemaName(k))
			w.message(2, func(w *encoder) {
				w.text(4, k.Doc)
				w.message(22, func(w *encoder) { w.text(1, "object") })
				note(w.extension(31, named, []any{gvk(k)}))
			})
		})
	}
	doc.text(1, "2.0")
	doc.message(2, func(w *encoder) { w.text(1, "Hearth"); w.text(2, version) })
	doc.bytes(8, paths)
	doc.bytes(9, definitions)
	return doc, failed
}
