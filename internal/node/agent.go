package node

import (
	"context"
	"errors"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
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
	engine, err := agent.New(cfg)
	if err != nil {
		return err
	}
	api, err := agentapi.NewServer(ctx, agentapi.Config{
		Data: c.Data, Listen: c.Listen, Engine: engine, Logger: env.Logger,
		Info: agentapi.Status{
			Version: env.Version, Since: time.Now(), Upload: c.Uploads(),
			UploadLimit: int64(c.UploadLimit), DownloadLimit: int64(c.LimitRate),
			UploadMonthly: int64(c.UploadMonthly), DownloadMonthly: int64(c.DownloadMonthly),
		},
	})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	err = runParts(ctx, part{"local API", func(ctx context.Context) error {
		env.Ready(api.URL())
		return api.Run(ctx)
	}})
	return errors.Join(err, engine.Close())
}
