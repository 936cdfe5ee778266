"""Pictures of a campaign, drawn with numpy alone."""
