"""What trains small networks to show something; not installed."""
