"""Money: what a call may cost and did, what may be spent, and the ledger of what was."""
