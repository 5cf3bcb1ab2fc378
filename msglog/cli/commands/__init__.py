"""The commands, by area. Importing a module adds its commands to the application; `main` imports them all."""
