"""Tables of the control database: applications and the use of permits."""
