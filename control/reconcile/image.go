package reconcile

import (
	"fmt"

	"github.com/hearth-run/hearth/api"
)

// container turns what a function with an image says into the one container of
// its revision.
func container(namespace string, s *api.FunctionSpec, image string) (api.Container, []api.Volume) {
	c := api.Container{
		Name: "user-container", Image: image, Command: s.Command, Env: s.Env, EnvFrom: s.EnvFrom,
		Resources: api.Resources{Limits: map[string]api.Quantity{}},
	}
	if p := s.Port; p != nil {
		port := api.ContainerPort{ContainerPort: p.Number}
		if p.Protocol == api.ProtocolH2C {
			port.Name = api.PortH2C
		}
		c.Ports = []api.ContainerPort{port}
	}
	for name, q := range map[string]api.Quantity{"memory": s.Limits.Memory, "cpu": s.Limits.CPU, "ephemeral-storage": s.Limits.Disk} {
		if q != "" {
			c.Resources.Limits[name] = q
		}
	}
	var volumes []api.Volume
	show := func(kind string, i int, name string, v api.Volume) {
		v.Name = fmt.Sprintf("%s-%d", kind, i)
		volumes = append(volumes, v)
		c.VolumeMounts = append(c.VolumeMounts, api.VolumeMount{Name: v.Name, MountPath: "/" + kind + "s/" + namespace + "/" + name, ReadOnly: true})
	}
	for i, name := range s.Secrets {
		show("secret", i, name, api.Volume{Secret: &api.SecretVolume{SecretName: name}})
	}
	for i, name := range s.Config {
		show("config", i, name, api.Volume{ConfigMap: &api.ConfigMapVolume{Name: name}})
	}
	return c, volumes
}
