package server

import (
	"encoding/base64"
	"encoding/json"
)

// Kubeconfig is the file that lets kubectl reach the server at url with token,
// trusting ca (PEM). Its context is called hearth. It holds the token: write it
// with mode 0600.
func Kubeconfig(url string, ca []byte, token, namespace string) []byte {
	const name = "hearth"
	cluster := object{"server": url}
	if len(ca) > 0 {
		cluster["certificate-authority-data"] = base64.StdEncoding.EncodeToString(ca)
	}
	b, err := json.MarshalIndent(object{
		"apiVersion": "v1", "kind": "Config", "current-context": name, "preferences": object{},
		"clusters": []any{object{"name": name, "cluster": cluster}},
		"users":    []any{object{"name": name, "user": object{"token": token}}},
		"contexts": []any{object{"name": name, "context": object{"cluster": name, "user": name, "namespace": namespace}}},
	}, "", "  ")
	if err != nil {
		panic(err) // strings in maps can always be written
	}
	return append(b, '\n')
}
