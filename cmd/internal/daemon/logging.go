package daemon

import (
	"os"

	"github.com/sirupsen/logrus"
)

// NewLogger returns a logger to standard error.
func NewLogger(level, format string) *logrus.Logger {
	log := logrus.New()
	setLogging(log, level, format)
	return log
}

// setLogging changes level and format, also while others log.
func setLogging(log *logrus.Logger, level, format string) {
	if l, err := logrus.ParseLevel(level); err == nil {
		log.SetLevel(l)
	}
	if format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
		return
	}
	log.SetFormatter(&logrus.TextFormatter{
		DisableColors: true, FullTimestamp: true,
		// The journal notes the time itself.
		DisableTimestamp: os.Getenv("JOURNAL_STREAM") != "",
	})
}
