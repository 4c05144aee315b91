package cli

import (
	"context"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
)

// local does the work in this process.
type local struct{ *agent.Engine }

func (l local) Download(ctx context.Context, req agent.Request) (download, error) {
	d, err := l.Engine.Download(ctx, req)
	if err != nil {
		return nil, err // not a nil *Download in an interface
	}
	return d, nil
}

// remote hands the work to the running agent.
type remote struct{ *agentapi.Client }

func (r remote) Download(ctx context.Context, req agent.Request) (download, error) {
	d, err := r.Client.Download(ctx, req)
	if err != nil {
		return nil, err // not a nil *Remote in an interface
	}
	return d, nil
}

func (r remote) Close() error {
	r.Client.Close()
	return nil
}
