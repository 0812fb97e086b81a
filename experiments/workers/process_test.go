package workers_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func httpServer(t testing.TB, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}
