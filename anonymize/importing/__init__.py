"""What a site already has, made into a policy: rules of other anonymizers, a steward's sheet of columns, a ready-made policy."""
