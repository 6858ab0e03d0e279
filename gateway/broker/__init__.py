"""RabbitMQ as operators see it: depths, routes, dead letters."""
