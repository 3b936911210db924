package adapter

import "vhost-user-nvgre/offload/ndis"

// queryModeration answers with what the driver's commands and OIDs have made
// of interrupts; the target keeps that.
func queryModeration(c *call) ndis.Status {
	p := ndis.InterruptModeration{Moderation: ndis.ModerationNotSupported}
	if can, on := c.a.target.Moderation(); on {
		p.Moderation = ndis.ModerationEnabled
	} else if can {
		p.Moderation = ndis.ModerationDisabled
	}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

func setModeration(c *call) ndis.Status {
	var p ndis.InterruptModeration
	if st := c.decode(&p, ndis.StatusInvalidData); st != ndis.StatusSuccess {
		return st
	}
	if can, _ := c.a.target.Moderation(); !can {
		return c.fail(ndis.StatusNotSupported, "the driver has not negotiated that interrupts are delayed")
	}
	if p.Moderation != ndis.ModerationEnabled && p.Moderation != ndis.ModerationDisabled {
		return c.fail(ndis.StatusInvalidData, "interrupt moderation %s, want %s or %s", p.Moderation, ndis.ModerationEnabled, ndis.ModerationDisabled)
	}
	c.SupportedRevision = 1
	c.a.target.Moderate(p.Moderation == ndis.ModerationEnabled)
	return ndis.StatusSuccess
}
