"""What a server keeps: storages, money, and sessions in memory."""
