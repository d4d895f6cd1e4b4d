"""What happens at the station?"""
