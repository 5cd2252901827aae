"""The routes, one file per subject. Each exports ``HANDLERS``; who may call them stands in ``console.roles``."""
