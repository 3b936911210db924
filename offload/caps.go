package offload

import "vhost-user-nvgre/virtio"

// Sender is what the driver of a sending port negotiated to hand over
// unfinished.
type Sender struct {
	Checksum        bool
	TSO4, TSO6, ECN bool
	USO             bool
}

// SenderOf returns what a feature set means for sending.
func SenderOf(f virtio.Features) Sender {
	return Sender{
		Checksum: f.Has(virtio.FeatureCSUM),
		TSO4:     f.Has(virtio.FeatureHostTSO4),
		TSO6:     f.Has(virtio.FeatureHostTSO6),
		ECN:      f.Has(virtio.FeatureHostECN),
		USO:      f.Has(virtio.FeatureHostUSO),
	}
}

// Receiver is what the driver of a receiving port negotiated to take
// unfinished.
type Receiver struct {
	Checksum        bool
	TSO4, TSO6, ECN bool
	USO4, USO6      bool
}

// ReceiverOf returns what a feature set means for receiving.
func ReceiverOf(f virtio.Features) Receiver {
	return Receiver{
		Checksum: f.Has(virtio.FeatureGuestCSUM),
		TSO4:     f.Has(virtio.FeatureGuestTSO4),
		TSO6:     f.Has(virtio.FeatureGuestTSO6),
		ECN:      f.Has(virtio.FeatureGuestECN),
		USO4:     f.Has(virtio.FeatureGuestUSO4),
		USO6:     f.Has(virtio.FeatureGuestUSO6),
	}
}
