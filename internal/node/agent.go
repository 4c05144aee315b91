package node

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/gateway"
	"github.com/tandem-cdn/tandem/internal/hoststate"
)

// EngineConfig is the client's configuration for its engine.
func EngineConfig(s config.Sharing, env Env) agent.Config {
	return agent.Config{
		DownloadMonthly: int64(s.DownloadMonthly), Host: hoststate.New(env.Logger), UploadAlso: s.UploadAlso,
		Data: s.Data, Upload: s.Uploads(), UploadMonthly: int64(s.UploadMonthly), QuietHours: hours(s.QuietHours), UploadLimit: int64(s.UploadLimit), DownloadLimit: int64(s.LimitRate),
		Ungoverned: s.Governor == "off", Patience: s.Patience, NoP2P: s.NoP2P, ListenTCP: s.LinkTCP, ListenUDP: s.LinkUDP, CAFile: s.CA,
		Agent: env.Version, Logger: env.Logger,
	}
}

func hours(all []config.Hours) []agent.Hours {
	out := make([]agent.Hours, len(all))
	for i, h := range all {
		out[i] = agent.Hours{From: h.From, To: h.To, Rate: int64(h.Rate)}
	}
	return out
}

// Agent runs the long-running client with its local API.
func Agent(ctx context.Context, c config.Agent, env Env) (err error) {
	if c.Data, err = dataDir(c.Data, "agent"); err != nil {
		return err
	}
	cfg := EngineConfig(c.Sharing, env)
	cfg.MapPorts = c.PortMapping == "on"
	policy, err := gatewayPolicy(c)
	if err != nil {
		return err
	}
	if policy != nil {
		cfg.Guard = policy.Dial
	}
	engine, err := agent.New(cfg)
	if err != nil {
		return err
	}
	var parts []part
	var door *gateway.Gateway
	if policy != nil {
		door, err = gateway.New(ctx, gateway.Config{
			Listen: c.Gateway, Data: filepath.Join(c.Data, "gateway"), Quota: int64(c.GatewayCache), Policy: policy, Engine: engine, Logger: env.Logger,
		})
		if err != nil {
			return errors.Join(err, engine.Close())
		}
		parts = append(parts, part{"gateway", door.Run})
	}
	api, err := agentapi.NewServer(ctx, agentapi.Config{
		Data: c.Data, Listen: c.Listen, Engine: engine, Gateway: door, Logger: env.Logger,
		Info: agentapi.Status{
			Version: env.Version, Since: time.Now(), Upload: c.Uploads(),
			UploadLimit: int64(c.UploadLimit), DownloadLimit: int64(c.LimitRate),
			UploadMonthly: int64(c.UploadMonthly), DownloadMonthly: int64(c.DownloadMonthly),
		},
	})
	if err != nil {
		if door != nil {
			err = errors.Join(err, door.Close())
		}
		return errors.Join(err, engine.Close())
	}
	err = runParts(ctx, append(parts, part{"local API", func(ctx context.Context) error {
		env.Ready(api.URL())
		return api.Run(ctx)
	}})...)
	return errors.Join(err, engine.Close())
}

// gatewayPolicy is whom the gateway serves; nil where there is none.
func gatewayPolicy(c config.Agent) (*gateway.Policy, error) {
	if c.Gateway == "" {
		if len(c.GatewayPublishers) > 0 {
			return nil, configError("gateway-publisher: there is no gateway, which --gateway 127.0.0.1:7777 would make")
		}
		return nil, nil //nolint:nilnil // see above
	}
	if err := config.Loopback(c.Gateway); err != nil {
		return nil, configError("gateway: %w", err)
	}
	policy, err := gateway.NewPolicy(c.GatewayPublishers)
	if err != nil {
		return nil, configError("gateway: %w", err)
	}
	return policy, nil
}
