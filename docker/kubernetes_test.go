package docker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// manifests are those of Kubernetes, decoded strictly: a field that an object does not have is an error.
type manifests struct {
	services map[string]corev1.Service
	sets     map[string]appsv1.StatefulSet
	configs  map[string]corev1.ConfigMap
}

func readManifests(t *testing.T) manifests {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := manifests{map[string]corev1.Service{}, map[string]appsv1.StatefulSet{}, map[string]corev1.ConfigMap{}}
	var listed []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "kustomization.yaml" {
			var k struct {
				APIVersion, Kind string
				Resources        []string
				Images           []struct{ Name, NewName, NewTag string }
			}
			if err := sigsyaml.UnmarshalStrict(data, &k); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if listed = k.Resources; k.Kind != "Kustomization" || len(k.Images) != 1 || k.Images[0].Name != "budgetmem" {
				t.Errorf("%s: %+v", file, k)
			}
			continue
		}
		for docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data))); ; {
			doc, err := readDocument(docs)
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			m.add(t, file, doc)
		}
	}
	slices.Sort(listed)
	var there []string
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" {
			there = append(there, name)
		}
	}
	if !slices.Equal(listed, there) {
		t.Errorf("kustomization.yaml lists %v; there are %v", listed, there)
	}
	return m
}

// readDocument reads one document of a stream.
func readDocument(r io.Reader) ([]byte, error) {
	buf := make([]byte, 1<<20)
	n, err := r.Read(buf)
	return buf[:n], err
}

func (m manifests) add(t *testing.T, file string, doc []byte) {
	t.Helper()
	var of struct{ APIVersion, Kind string }
	if err := sigsyaml.Unmarshal(doc, &of); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var err error
	switch of.APIVersion + " " + of.Kind {
	case "v1 Service":
		var s corev1.Service
		err = sigsyaml.UnmarshalStrict(doc, &s)
		m.services[s.Name] = s
	case "apps/v1 StatefulSet":
		var s appsv1.StatefulSet
		err = sigsyaml.UnmarshalStrict(doc, &s)
		m.sets[s.Name] = s
	case "v1 ConfigMap":
		var c corev1.ConfigMap
		err = sigsyaml.UnmarshalStrict(doc, &c)
		m.configs[c.Name] = c
	default:
		t.Errorf("%s: a %s of %s, which this test does not know", file, of.Kind, of.APIVersion)
	}
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

func TestManifests(t *testing.T) {
	m := readManifests(t)
	if want := []string{"nats", "postgres", "serve", "worker"}; !slices.Equal(slices.Sorted(maps.Keys(m.sets)), want) || !slices.Equal(slices.Sorted(maps.Keys(m.services)), want) {
		t.Fatalf("stateful sets %v, services %v, want %v of each", slices.Sorted(maps.Keys(m.sets)), slices.Sorted(maps.Keys(m.services)), want)
	}
	for name, set := range m.sets {
		pod := set.Spec.Template
		service := m.services[set.Spec.ServiceName]
		for what, labels := range map[string]map[string]string{"the set's selector": set.Spec.Selector.MatchLabels, "its service's": service.Spec.Selector} {
			if !reflect.DeepEqual(labels, pod.Labels) {
				t.Errorf("%s: %s is %v, the pods have %v", name, what, labels, pod.Labels)
			}
		}
		if len(pod.Spec.Containers) != 1 {
			t.Fatalf("%s: %d containers", name, len(pod.Spec.Containers))
		}
		c := pod.Spec.Containers[0]
		ours := name != "postgres"
		if !ours && !pgvectorRE.MatchString(c.Image) || ours && (c.Image != "budgetmem" || len(c.Command) < 2 || c.Command[0] != "bmem" || c.Command[1] != name) {
			t.Errorf("%s runs %s %v", name, c.Image, c.Command)
		}
		ports := map[string]int32{}
		for _, p := range c.Ports {
			ports[p.Name] = p.ContainerPort
			if ours && !slices.ContainsFunc(c.Command, func(arg string) bool { return strings.HasSuffix(arg, portOf(p.ContainerPort)) }) {
				t.Errorf("%s: port %s is %d, and no flag says so: %v", name, p.Name, p.ContainerPort, c.Command)
			}
		}
		for _, p := range service.Spec.Ports {
			if ports[p.TargetPort.StrVal] == 0 {
				t.Errorf("service %s leads to the port %s, which the pods do not have", name, p.TargetPort.StrVal)
			}
		}
		for what, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			switch {
			case probe == nil:
			case probe.HTTPGet != nil && ports[probe.HTTPGet.Port.StrVal] == 0, probe.TCPSocket != nil && ports[probe.TCPSocket.Port.StrVal] == 0:
				t.Errorf("%s: the %s probe asks at a port that is not there", name, what)
			}
		}
		claims := map[string]bool{}
		for _, v := range set.Spec.VolumeClaimTemplates {
			claims[v.Name] = true
		}
		for _, v := range pod.Spec.Volumes {
			if v.ConfigMap == nil || len(m.configs[v.ConfigMap.Name].Data) == 0 {
				t.Errorf("%s: the volume %s is made of nothing that is here", name, v.Name)
			}
			claims[v.Name] = true
		}
		for _, v := range c.VolumeMounts {
			if !claims[v.Name] || ours && !slices.ContainsFunc(c.Command, func(arg string) bool { return strings.Contains(arg, "="+v.MountPath) }) {
				t.Errorf("%s mounts %s at %s, which is no claim of it, or no flag names it: %v", name, v.Name, v.MountPath, c.Command)
			}
		}
		for _, e := range c.Env {
			if secret := regexp.MustCompile(`TOKEN|PASSWORD`).MatchString(e.Name); !secret && e.Value != "" {
				continue
			}
			if e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil || e.ValueFrom.SecretKeyRef.Name != "budgetmem" {
				t.Errorf("%s: $%s comes from elsewhere than the secret", name, e.Name)
			}
		}
		if s := pod.Spec.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || c.SecurityContext == nil || *c.SecurityContext.AllowPrivilegeEscalation {
			t.Errorf("%s may become root", name)
		}
	}
	if !slices.Contains(m.sets["worker"].Spec.Template.Spec.Containers[0].Command, "--nats=nats://nats"+portOf(m.services["nats"].Spec.Ports[0].Port)) {
		t.Error("workers look for NATS elsewhere than its service is")
	}
}

// pgvectorRE is an image of PostgreSQL with pgvector, pinned by version.
var pgvectorRE = regexp.MustCompile(`^pgvector/pgvector:\d+\.\d+\.\d+-pg\d+$`)

func portOf(port int32) string { return fmt.Sprintf(":%d", port) }

// Services that need a token say where it comes from, and nobody else gets the password of the database.
func TestWorkerServices(t *testing.T) {
	services := load(t, []string{"WORKERS=3", "BUDGETMEM_NATS_TOKEN=secret", "POSTGRES_PASSWORD=word"}, "workers", "postgres").Services
	worker, nats := services["worker"], services["nats"]
	if n := worker.Deploy.Replicas; n == nil || *n != 3 {
		t.Errorf("%v workers, want 3", n)
	}
	if !slices.Contains(worker.Command, "--nats=nats://nats:4222") || !slices.Contains(nats.Command, "--addr=0.0.0.0:4222") || worker.DependsOn["nats"].Condition != "service_healthy" {
		t.Errorf("workers run %v, NATS %v", worker.Command, nats.Command)
	}
	for _, name := range []string{"worker", "nats", "notebook"} {
		if s := services[name]; s.Environment["BUDGETMEM_NATS_TOKEN"] == nil || *s.Environment["BUDGETMEM_NATS_TOKEN"] != "secret" || s.PullPolicy != types.PullPolicyBuild {
			t.Errorf("%s does not get the token, or may be pulled", name)
		}
		if s := services[name]; s.HealthCheck == nil && name != "notebook" {
			t.Errorf("%s has the health check of notebooks", name)
		}
	}
	postgres := services["postgres"]
	if !pgvectorRE.MatchString(postgres.Image) || len(postgres.Ports)+len(nats.Ports)+len(worker.Ports) > 0 {
		t.Errorf("PostgreSQL is %s; or a service is published", postgres.Image)
	}
	for name, s := range services {
		_, asServer := s.Environment["POSTGRES_PASSWORD"]
		if password := s.Environment["PGPASSWORD"]; asServer != (name == "postgres") || (password != nil) != (name == "serve") {
			t.Errorf("%s gets the database's password, or does not", name)
		}
	}
	serve := services["serve"]
	if !slices.Contains(serve.Command, "--store=postgres://bmem@postgres/memories") || *serve.Environment["PGPASSWORD"] != "word" || len(serve.Ports) != 1 || serve.Ports[0].HostIP != "127.0.0.1" || *postgres.Environment["POSTGRES_DB"] != "memories" {
		t.Errorf("the server runs %v at %v", serve.Command, serve.Ports)
	}
}
