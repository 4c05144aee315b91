// Package serving runs an HTTP server for as long as its owner lives.
package serving

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Until serves on ln until ctx ends; answers under way then have drain to end before they
// are cut. Requests have a context that ends with ctx. The error is that of a server that
// ended by itself.
func Until(ctx context.Context, srv *http.Server, ln net.Listener, drain time.Duration) error {
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(ln) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	left, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if srv.Shutdown(left) != nil {
		_ = srv.Close() // cuts what is left
	}
	if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
