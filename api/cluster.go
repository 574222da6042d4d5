package api

import "strings"

// ClusterDomain ends the names instances call each other by.
const ClusterDomain = "cluster.local"

// ClusterHost tells whether a host, in lower case, is one that only this machine
// and its instances can call: NAME.NAMESPACE.svc, alone or in ClusterDomain. Such
// a host is its namespace's, which is empty for a name that has none.
func ClusterHost(host string) (namespace string, ok bool) {
	bare, ok := strings.CutSuffix(strings.TrimSuffix(host, "."+ClusterDomain), ".svc")
	if !ok {
		return "", false
	}
	name, namespace := "", bare
	if i := strings.LastIndexByte(bare, '.'); i >= 0 {
		name, namespace = bare[:i], bare[i+1:]
	}
	if name == "" {
		namespace = ""
	}
	return namespace, true
}
