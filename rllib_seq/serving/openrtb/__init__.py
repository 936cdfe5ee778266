"""OpenRTB 2.6: requests, responses, who the user is, and the ids of bids."""
