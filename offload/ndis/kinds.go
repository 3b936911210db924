package ndis

// Structure returns a new structure of the kind that a query of the object, or
// a method, answers with; nil for one without any.
func (o OID) Structure() Structure {
	switch o {
	case OIDTCPOffloadCurrentConfig, OIDTCPOffloadHardwareCaps:
		return new(Offload)
	case OIDTCPOffloadParameters:
		return new(OffloadParameters)
	case OIDOffloadEncapsulation:
		return new(OffloadEncapsulation)
	case OIDInterruptModeration:
		return new(InterruptModeration)
	case OIDStatistics:
		return new(Statistics)
	case OIDTCPRSCStatistics:
		return new(RSCStatistics)
	case OIDReceiveScaleCapabilities:
		return new(ReceiveScaleCapabilities)
	case OIDReceiveScaleParameters:
		return new(ReceiveScaleParameters)
	case OIDReceiveScaleParametersV2:
		return new(ReceiveScaleParametersV2)
	case OIDRSSSetIndirectionEntries:
		return new(RSSSetIndirectionEntries)
	case OIDReceiveHash:
		return new(ReceiveHashParameters)
	case OIDFilterHardwareCapabilities, OIDFilterCurrentCapabilities:
		return new(ReceiveFilterCapabilities)
	case OIDFilterGlobalParameters:
		return new(ReceiveFilterGlobalParameters)
	case OIDFilterAllocateQueue, OIDFilterQueueParameters:
		return new(ReceiveQueueParameters)
	case OIDFilterFreeQueue:
		return new(ReceiveQueueFreeParameters)
	case OIDFilterEnumQueues:
		return new(ReceiveQueueInfoArray)
	case OIDFilterSetFilter, OIDFilterParameters:
		return new(ReceiveFilterParameters)
	case OIDFilterClearFilter:
		return new(ReceiveFilterClearParameters)
	case OIDFilterEnumFilters:
		return new(ReceiveFilterInfoArray)
	case OIDFilterAllocationComplete:
		return new(AllocationCompleteArray)
	case OIDFilterMoveFilter:
		return new(ReceiveFilterMoveParameters)
	}
	return nil
}

// Structure returns a new structure of the kind that comes with an indication;
// nil for a status that is none.
func (s Status) Structure() Structure {
	switch s {
	case StatusTaskOffloadCurrentConfig, StatusTaskOffloadHardwareCapabilities:
		return new(Offload)
	case StatusOffloadEncapsulationChange:
		return new(OffloadEncapsulation)
	case StatusReceiveQueueState:
		return new(ReceiveQueueStateIndication)
	case StatusReceiveFilterCurrentCapabilities, StatusReceiveFilterHardwareCapabilities:
		return new(ReceiveFilterCapabilities)
	case StatusReceiveFilterQueueParameters:
		return new(ReceiveQueueParameters)
	}
	return nil
}
