"""The jobs' checks of the deployment: providers, webhooks, prices, the ledger."""
