"""What providers are asked over the network: one module a provider's API. All that they share is in http.py."""
